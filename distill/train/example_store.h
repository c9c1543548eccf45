#pragma once
// Tokenised rows in a file without a name, mapped. A row: u32 tokens, u32 teacher places, i64 line,
// ids int32[tokens], target bits (tokens + 7) / 8 bytes, then for each teacher place u16 count,
// int32[count], float32[count]. Preferences are two of them in a row.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/hash.h"
#include "distill/rows/spool.h"
#include "distill/train/example.h"

namespace lancet {

void append_example(const Example& example, std::string& out);
/// Sets the line of the first row in `bytes`.
void set_line(std::string& bytes, std::int64_t line);

class ExampleStore {
 public:
  /// The file stands in the folder of `beside`. kResource when it cannot be made.
  explicit ExampleStore(const std::filesystem::path& beside) : spool_(beside) {}

  /// `bytes`: one or two rows of append_example; `tokens` and `targets` of them together.
  void add(std::string_view bytes, std::uint32_t tokens, std::uint32_t targets);
  /// Everything is added; rows may be read.
  void finish();

  [[nodiscard]] std::size_t size() const noexcept { return tokens_.size(); }
  [[nodiscard]] std::span<const std::uint32_t> tokens() const noexcept { return tokens_; }
  [[nodiscard]] std::span<const std::uint32_t> targets() const noexcept { return targets_; }
  /// The first or (of a preference) second part of a row.
  [[nodiscard]] Example example(std::size_t row, int part = 0) const;
  [[nodiscard]] const std::string& hash() const noexcept { return hash_; }

 private:
  Spool spool_;
  Sha256 running_;
  std::string hash_;
  std::vector<std::uint64_t> begins_;
  std::vector<std::uint32_t> tokens_, targets_;
  std::uint64_t bytes_ = 0;
  std::optional<MappedFile> file_;
};

}  // namespace lancet
