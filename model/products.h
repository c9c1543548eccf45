#pragma once
// Several independent products of our kernels (model/kernels/gemm.h) in one parallel region.

#include <cstdint>
#include <span>
#include <variant>

#include <ATen/ATen.h>

#include "model/kernels/gemm.h"
#include "model/kernels/pairs.h"
#include "model/packed_products.h"

namespace lancet {

using Product = std::variant<kernels::LinearJob, kernels::InputGradJob, kernels::PairLinear,
                             kernels::PairInputGrad, PackedProduct>;

/// Of a float32, bfloat16 or float16 matrix.
[[nodiscard]] kernels::WeightType weight_type(const at::Tensor& weight);

/// out[rows, n] (+)= in[rows, k] times the transpose of `matrix` [n, k]. All float32 (the matrix
/// may be of 16 bits) and contiguous. `tiles`: in the order of tiles.
[[nodiscard]] Product times_transposed(const float* in, std::int64_t rows, const at::Tensor& matrix,
                                       float* out, bool accumulate = false, bool tiles = false);
/// out[rows, k] (+)= in[rows, n] times `matrix` [n, k].
[[nodiscard]] Product times(const float* in, std::int64_t rows, const at::Tensor& matrix,
                            float* out, bool accumulate = false, bool tiles = false);

/// The same two of bfloat16 rows with a bfloat16 matrix (model/kernels/pairs.h).
[[nodiscard]] Product times_transposed(const at::BFloat16* in, std::int64_t rows,
                                       const at::Tensor& matrix, float* out,
                                       bool accumulate = false);
[[nodiscard]] Product times(const at::BFloat16* in, std::int64_t rows, const at::Tensor& matrix,
                            float* out, bool accumulate = false);
/// bfloat16 [count], to nearest even.
[[nodiscard]] at::Tensor round_rows(const float* values, std::int64_t count);

/// The same two with a packed matrix.
[[nodiscard]] Product times_transposed(const float* in, std::int64_t rows,
                                       const PackedMatrix& matrix, float* out,
                                       bool accumulate = false, bool tiles = false);
[[nodiscard]] Product times(const float* in, std::int64_t rows, const PackedMatrix& matrix,
                            float* out, bool accumulate = false, bool tiles = false);

/// Elements [first, first + count) of such a matrix, contiguous, as float32.
void widen(const at::Tensor& matrix, std::int64_t first, std::int64_t count, float* out);

/// All tiles of products that do not depend on one another.
void run_products(std::span<const Product> products);

}  // namespace lancet
