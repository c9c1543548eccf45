#include "model/kernels/grid.h"

namespace lancet::kernels {
namespace {

constexpr std::int64_t kMaxTileRows = 512;
constexpr std::int64_t kMinTileRows = 64;

constexpr std::int64_t div_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
constexpr std::int64_t round_up(std::int64_t a, std::int64_t b) { return div_up(a, b) * b; }

/// `length` in equal parts of at most `longest`, a multiple of `multiple`.
std::int64_t even_part(std::int64_t length, std::int64_t longest, std::int64_t multiple) {
  const std::int64_t parts = std::max<std::int64_t>(1, div_up(length, longest));
  return std::max(multiple, round_up(div_up(length, parts), multiple));
}

Grid cheapest(std::int64_t rows, std::int64_t columns, const Packing& packing,
              std::int64_t workers) {
  Grid best{};
  double least = 0;
  for (std::int64_t tall = kMaxTileRows; tall >= kMinTileRows; tall /= 2) {
    for (std::int64_t wide = packing.widest; wide >= packing.step; wide -= packing.step) {
      const Grid grid{rows, columns, even_part(rows, tall, 2),
                      even_part(columns, wide, packing.step)};
      const auto turns =
          static_cast<double>(div_up(grid.count(), std::max<std::int64_t>(1, workers)));
      const double cost = turns * static_cast<double>((grid.tile_rows + packing.w_cost) *
                                                      (grid.tile_columns + packing.a_cost));
      if (best.tile_rows == 0 || cost < least) {
        best = grid;
        least = cost;
      }
    }
  }
  return best;
}

}  // namespace

Grid few_rows_grid(std::int64_t rows, std::int64_t columns, std::int64_t bytes, std::int64_t step) {
  const std::int64_t tiles = round_up(std::max<std::int64_t>(1, bytes >> 18), 2);
  return {rows, columns, std::max<std::int64_t>(1, rows),
          std::max(step, round_up(div_up(columns, tiles), step))};
}

Grid packed_grid(std::int64_t rows, std::int64_t columns, const Packing& packing,
                 std::int64_t workers) {
  struct Answer {
    std::int64_t rows = -1, columns = -1, workers = -1;
    Packing packing{};
    Grid grid{};
  };
  thread_local Answer last;  // every tile of a product asks
  if (last.rows != rows || last.columns != columns || last.workers != workers ||
      last.packing != packing)
    last = {rows, columns, workers, packing, cheapest(rows, columns, packing, workers)};
  return last.grid;
}

}  // namespace lancet::kernels
