#pragma once
// The working directory of an output that outlives a kill: `.NAME.lancet-OPERATION` beside it. It
// holds journal.json (what is made, of what), finished files and, for each, NAME.done with its
// hash. A rerun of the same command takes the finished files over; of a merge any number of
// processes may fill it with shards of their own.

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "core/file.h"
#include "core/json.h"
#include "formats/model_writer.h"

namespace lancet {

struct JournalOptions {
  bool shared = false;   ///< other processes may work in it, too
  bool restart = false;  ///< of another command's: emptied; of the same: too
};

class OutputJournal {
 public:
  /// Opens or makes the directory. `operation` is the command's name, `identity` everything that
  /// decides the bytes of the result, its "inputs" a list. kMismatch, saying what differs, when the
  /// directory has finished files of another command; kResource when another process holds it.
  OutputJournal(std::string_view operation, const fs::path& out, const Json& identity,
                JournalOptions options);
  ~OutputJournal();
  OutputJournal(const OutputJournal&) = delete;
  OutputJournal& operator=(const OutputJournal&) = delete;

  [[nodiscard]] const fs::path& path() const noexcept { return path_; }
  /// A file that an earlier run finished, of the size that it recorded. (A directory without any
  /// is removed by the destructor.)
  [[nodiscard]] std::optional<WrittenFile> finished(const std::string& name) const;
  /// Reads a finished file: its bytes are those that were recorded.
  [[nodiscard]] static bool is_intact(const WrittenFile& file);
  void record(const WrittenFile& file) const;
  /// The finished file if it is intact (else a warning where there is one), or what `write` makes
  /// at the path that it is given, recorded.
  WrittenFile make(const std::string& name,
                   const std::function<WrittenFile(const fs::path& path)>& write);
  /// Bytes that were taken over from an earlier run.
  [[nodiscard]] std::uint64_t resumed() const noexcept { return resumed_; }
  void add_resumed(std::uint64_t bytes) noexcept { resumed_ += bytes; }
  /// Disk space that its files have.
  [[nodiscard]] std::uint64_t held_bytes() const;

  /// Removes the journal's own files: what is left is the model.
  void close();
  /// Gives the directory its final name.
  void commit(bool replace);
  /// Gives the finished file `name` the final name, and removes the rest.
  void commit_file(const std::string& name);
  /// Removes all of it.
  void discard();
  /// Where the directory for OUT lies.
  [[nodiscard]] static fs::path place(std::string_view operation, const fs::path& out);

 private:
  std::string operation_;
  fs::path final_, path_;
  int lock_ = -1;
  bool shared_ = false, committed_ = false;
  std::uint64_t resumed_ = 0;

  void open();
  void check(const Json& identity, bool restart);
  [[nodiscard]] bool has_finished() const;
};

}  // namespace lancet
