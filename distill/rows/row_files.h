#pragma once
// JSON-lines files cut into batches whose borders depend on the files alone.

#include <functional>
#include <string_view>
#include <vector>

#include "core/file.h"

namespace lancet {

class RowFiles {
 public:
  static constexpr std::uint64_t kBatchBytes = 1ULL << 20;

  /// Error(kInput) for a file that is missing or empty of bytes to map.
  explicit RowFiles(const std::vector<fs::path>& paths);

  [[nodiscard]] std::size_t batches() const noexcept { return batches_.size(); }
  [[nodiscard]] std::uint64_t bytes() const noexcept;
  /// Those of a batch's lines that are not blank, without blanks at their ends; `number` counts all
  /// that begin in the batch, from 1. Returns how many these are.
  std::uint64_t for_each_line(
      std::size_t batch,
      const std::function<void(std::uint64_t number, std::string_view line)>& each) const;
  /// The file that a batch is of, counted from 0.
  [[nodiscard]] std::uint32_t source(std::size_t batch) const noexcept;
  /// Bytes of a batch's range.
  [[nodiscard]] std::uint64_t batch_bytes(std::size_t batch) const noexcept;
  /// The batch's bytes will not be needed again.
  void release(std::size_t batch) const noexcept;
  /// Error(kInput) when a file changed while it was read.
  void check_unchanged() const;

 private:
  struct Batch {
    std::uint32_t source;
    std::uint64_t begin, end;
  };
  std::vector<MappedFile> files_;
  std::vector<Batch> batches_;
};

}  // namespace lancet
