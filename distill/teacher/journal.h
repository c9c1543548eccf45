#pragma once
// The memory of a run: every answer that was paid for, appended to a file the moment it comes.
// After a kill at any point the next run finds all of them and asks only for the rest.
//
// A line is 16 hex digits (the start of the SHA-256 of the rest), a blank, and one JSON document:
//   {"key": request key, "answer": answer_json}     an answer; the first good one of a key counts
//   {"key": ..., "result": answer_json}             of a program that was run: nobody was asked
//   {"lost": {"requests": n, "tokens": n, "usd": x}}  spent without an answer since the last such
//   line
// A torn last line is cut off; a damaged line elsewhere is an error (kInput) that names it.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "distill/teacher/answer.h"

namespace lancet {

/// Spent on requests that brought no answer.
struct LostSpending {
  std::uint64_t requests = 0, tokens = 0;
  double usd = 0;
};

class Journal {
 public:
  /// Opens (or begins) `path`, alone: kResource while another process has it. `others` are read
  /// too, never written: the journals of a job's other parts.
  explicit Journal(const std::filesystem::path& path,
                   const std::vector<std::filesystem::path>& others = {});
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  [[nodiscard]] bool contains(std::string_view key) const;
  [[nodiscard]] std::optional<TeacherAnswer> find(std::string_view key) const;
  [[nodiscard]] std::size_t size() const noexcept;
  /// All keys, in the order of the files.
  [[nodiscard]] std::vector<std::string> keys() const;
  /// Sum over the teacher's answers that were there when the journal was opened, and their number.
  [[nodiscard]] TeacherUsage usage() const noexcept;
  [[nodiscard]] std::uint64_t answers() const noexcept;
  /// Typed failures are asked again, and a good answer takes their place. Returns how many.
  std::size_t forget_failures();
  /// Of all runs so far: requests, tokens and money that brought nothing.
  [[nodiscard]] LostSpending lost() const noexcept;

  /// Kept in memory until flush(). A key that is already there is left as it is.
  void add(const std::string& key, const TeacherAnswer& answer);
  /// The same for what no teacher was asked: it counts as no request.
  void add_result(const std::string& key, const TeacherAnswer& result);
  void add_lost(const LostSpending& lost);
  /// Hands the lines to the system in one write: a killed process loses none of them. The disk is
  /// told (fdatasync, beside the caller) after every 256 lines or second, once at a time; sync()
  /// waits for all of them.
  void flush();
  void sync();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lancet
