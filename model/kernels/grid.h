#pragma once
// How the result of a product is cut into tiles that threads share.

#include <algorithm>
#include <cstdint>

#include "model/kernels/gemm_kernels.h"

namespace lancet::kernels {

/// `tile_rows` x `tile_columns` tiles over C, rows fastest: neighbours share a panel of W.
struct Grid {
  std::int64_t rows, columns, tile_rows, tile_columns;

  [[nodiscard]] std::int64_t row_tiles() const { return (rows + tile_rows - 1) / tile_rows; }
  [[nodiscard]] std::int64_t count() const {
    if (rows == 0 || columns == 0) return 0;
    return row_tiles() * ((columns + tile_columns - 1) / tile_columns);
  }
  [[nodiscard]] Tile tile(std::int64_t index) const {
    const std::int64_t m0 = index % row_tiles() * tile_rows;
    const std::int64_t n0 = index / row_tiles() * tile_columns;
    return {m0, std::min(rows, m0 + tile_rows), n0, std::min(columns, n0 + tile_columns)};
  }
};

/// All rows of A, which are few: tiles of about 256 KiB of the `bytes` of weights, in even numbers,
/// of a multiple of `step` columns.
[[nodiscard]] Grid few_rows_grid(std::int64_t rows, std::int64_t columns, std::int64_t bytes,
                                 std::int64_t step);

/// What packing costs.
struct Packing {
  std::int64_t widest;          ///< columns of a tile
  std::int64_t step;            ///< of tiles' columns
  std::int64_t w_cost, a_cost;  ///< of a row of W in rows of C, of a row of A in columns
  bool operator==(const Packing&) const = default;
};

/// Wide and tall tiles cost the least packing; small ones share the work evenly. The cheapest for
/// `workers` threads.
[[nodiscard]] Grid packed_grid(std::int64_t rows, std::int64_t columns, const Packing& packing,
                               std::int64_t workers);

}  // namespace lancet::kernels
