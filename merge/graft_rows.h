#pragma once
// Rows of a grafted table: sums of rows of the model's (RowSums), a block at a time.

#include "merge/graft.h"
#include "merge/reader.h"

namespace lancet {

class RowMaker {
 public:
  static constexpr std::uint64_t kBlock = 1ULL << 20;  ///< elements of the result at a time
  static constexpr std::uint64_t kBytes = kBlock * (sizeof(double) + sizeof(float));

  /// Reads the whole table where `sums` ask for its mean. Both must outlive this.
  RowMaker(const TensorReader& reader, const RowSums& sums);

  [[nodiscard]] std::size_t width() const noexcept { return width_; }
  /// Rows [first, first + values.size() / width()), in parallel; the table's pages are released.
  void make(std::uint64_t first, std::span<double> values) const;
  [[nodiscard]] static std::uint64_t rows_at_a_time(std::uint64_t width) {
    return std::max<std::uint64_t>(1, kBlock / std::max<std::uint64_t>(1, width));
  }

 private:
  const TensorReader& reader_;
  const RowSums& sums_;
  std::size_t width_;
  std::vector<double> mean_;

  void add_terms(std::uint64_t row, std::span<double> out) const;
};

}  // namespace lancet
