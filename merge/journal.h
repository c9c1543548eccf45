#pragma once
// The working directory of a merge: `.NAME.lancet-merge` beside OUT. It holds journal.json (what is
// merged, with what), finished shards and, for each, NAME.done with its hash. It survives a kill; a
// rerun of the same merge takes the finished shards over, and any number of processes may fill it
// with shards of their own.

#include <optional>
#include <string>

#include "core/file.h"
#include "core/json.h"
#include "formats/model_writer.h"

namespace lancet {

class MergeJournal {
 public:
  /// Opens or makes the directory. `identity` is everything that decides the bytes of the result.
  /// kMismatch, saying what differs, when the directory belongs to another merge (with `restart` it
  /// is emptied instead); kResource when another process holds it. `shared`: other processes may
  /// work in it too.
  MergeJournal(const fs::path& out, const Json& identity, bool shared, bool restart);
  ~MergeJournal();
  MergeJournal(const MergeJournal&) = delete;
  MergeJournal& operator=(const MergeJournal&) = delete;

  [[nodiscard]] const fs::path& path() const noexcept { return path_; }
  /// A shard that an earlier run finished, of the size that it recorded. (A directory without any
  /// is removed by the destructor.)
  [[nodiscard]] std::optional<WrittenFile> finished(const std::string& shard) const;
  /// Reads a finished shard: its bytes are those that were recorded.
  [[nodiscard]] static bool is_intact(const WrittenFile& file);
  void record(const WrittenFile& file) const;
  /// Removes the journal's own files: what is left is the model.
  void close();
  /// Gives the directory its final name.
  void commit(bool replace);
  /// Where the directory for OUT lies.
  [[nodiscard]] static fs::path place(const fs::path& out);

 private:
  fs::path final_, path_;
  int lock_ = -1;
  bool shared_ = false, committed_ = false;

  void open();
  void check(const Json& identity, bool restart);
  [[nodiscard]] bool has_finished() const;
};

}  // namespace lancet
