#include "merge/ops/columns.h"

namespace lancet::ops {

void add_column_products(std::span<double> sums, In a, In b, const ColumnGrid& grid,
                         std::uint64_t begin) {
  for (std::size_t e = 0; e < a.size(); ++e) {
    double* s = sums.data() + 3 * grid.column(begin + e);
    s[0] += a[e] * a[e];
    s[1] += b[e] * b[e];
    s[2] += a[e] * b[e];
  }
}

void combine_columns(Out out, In a, In b, std::span<const double> factors, const ColumnGrid& grid,
                     std::uint64_t begin) {
  for (std::size_t e = 0; e < out.size(); ++e) {
    const double* pair = factors.data() + 3 * grid.column(begin + e);
    out[e] = pair[0] * a[e] + pair[1] * b[e];
  }
}

void add_column_sums(std::span<double> sums, In base, std::span<const Out> models,
                     std::size_t columns, const ColumnGrid& grid, std::uint64_t begin) {
  for (std::size_t e = 0; e < base.size(); ++e) {
    const std::size_t c = grid.column(begin + e);
    const double b = base[e];
    for (std::size_t i = 0; i < models.size(); ++i) {
      const double x = models[i][e];
      sums[2 * i * columns + c] += x * x;
      sums[(2 * i + 1) * columns + c] += x * b;
    }
    sums[2 * models.size() * columns + c] += b * b;
  }
}

void add_scored_changes(Out out, In base, std::span<const Out> models,
                        std::span<const std::vector<double>> scores, const ColumnGrid& grid,
                        std::uint64_t begin) {
  for (std::size_t e = 0; e < out.size(); ++e) {
    const std::size_t c = grid.column(begin + e);
    double delta = 0;
    for (std::size_t i = 0; i < models.size(); ++i)
      delta += scores[i][c] * (models[i][e] - base[e]);
    out[e] = base[e] + delta;
  }
}

}  // namespace lancet::ops
