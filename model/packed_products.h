#pragma once
// Products with packed matrices: tiles of the kernels' own, whose weights are decoded into a
// scratch buffer of the thread just before they are used. The bits are those of the same product
// with the decoded matrix (model/kernels/gemm.h), because sums are cut at the same places.

#include <cstdint>

#include "model/packed_matrix.h"

namespace lancet {

/// along_rows: out[rows, n] (+)= in[rows, k] W^T; else out[rows, k] (+)= in[rows, n] W, for the
/// packed W [n, k].
struct PackedProduct {
  const float* in = nullptr;
  std::int64_t rows = 0;
  const PackedMatrix* matrix = nullptr;
  float* out = nullptr;
  bool along_rows = true;
  bool accumulate = false;
  bool tiles = false;  ///< in the order of tiles
  std::int64_t workers = 1;
};

[[nodiscard]] std::int64_t tile_count(const PackedProduct& product);
/// Tiles may run in any order and at the same time.
void run_tile(const PackedProduct& product, std::int64_t index);

}  // namespace lancet
