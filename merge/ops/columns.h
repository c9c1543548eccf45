#pragma once
// Sums and factors by column of a tensor that is worked through in blocks of elements.

#include <vector>

#include "merge/ops/vector.h"

namespace lancet::ops {

/// Which column an element belongs to.
struct ColumnGrid {
  enum class Axis { kColumns, kRows, kElements };  ///< of the last dimension, row as column, each
  Axis axis = Axis::kColumns;
  std::uint64_t width = 1;  ///< elements of a row

  [[nodiscard]] std::uint64_t column(std::uint64_t element) const {
    switch (axis) {
      case Axis::kColumns:
        return element % width;
      case Axis::kRows:
        return element / width;
      case Axis::kElements:
        return element;
    }
    return 0;
  }
};

/// sums[3 c] += a a, [3 c + 1] += b b, [3 c + 2] += a b. `begin`: the first element.
void add_column_products(std::span<double> sums, In a, In b, const ColumnGrid& grid,
                         std::uint64_t begin);
/// out = factors[3 c] a + factors[3 c + 1] b.
void combine_columns(Out out, In a, In b, std::span<const double> factors, const ColumnGrid& grid,
                     std::uint64_t begin);

/// For model i sums[2 i columns + c] += x x and sums[(2 i + 1) columns + c] += x b; last of all b
/// b.
void add_column_sums(std::span<double> sums, In base, std::span<const Out> models,
                     std::size_t columns, const ColumnGrid& grid, std::uint64_t begin);
/// out = base + sum_i scores_i[c] (x_i - base).
void add_scored_changes(Out out, In base, std::span<const Out> models,
                        std::span<const std::vector<double>> scores, const ColumnGrid& grid,
                        std::uint64_t begin);

}  // namespace lancet::ops
