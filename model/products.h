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

/// out[rows, n] (+)= in[rows, k] times the transpose of `matrix` [n, k]. All float32 (the matrix
/// may be bfloat16) and contiguous.
[[nodiscard]] Product times_transposed(const float* in, std::int64_t rows, const at::Tensor& matrix,
                                       float* out, bool accumulate = false);
/// out[rows, k] (+)= in[rows, n] times `matrix` [n, k].
[[nodiscard]] Product times(const float* in, std::int64_t rows, const at::Tensor& matrix,
                            float* out, bool accumulate = false);

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
                                       bool accumulate = false);
[[nodiscard]] Product times(const float* in, std::int64_t rows, const PackedMatrix& matrix,
                            float* out, bool accumulate = false);

/// All tiles of products that do not depend on one another.
void run_products(std::span<const Product> products);

}  // namespace lancet
