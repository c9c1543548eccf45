#pragma once
// The lengths of DoRA (arXiv:2402.09353): y = m / c * (x (W + scale B A)^T) + bias with
// c_j = |row j of W + scale B A|, a constant in the backward pass.
//   c_j^2 = |W_j|^2 + 2 scale <B_j, (A W^T)_j> + scale^2 B_j (A A^T) B_j^T
// so that B A is never made: one product of A with the weight, and rank^2 for each row.

#include <ATen/ATen.h>

#include "model/linear.h"
#include "model/lora.h"

namespace lancet {

/// c, float32 [d_out]. base_norms of the part must be there.
[[nodiscard]] at::Tensor weight_norms(const Linear& layer);

/// z * magnitude / norms + bias over the last dimension; z [..., d_out], bias [d_out] or undefined.
/// Differentiable with respect to z and the part's magnitude; the same bits for any thread count.
[[nodiscard]] at::Tensor scale_rows(const at::Tensor& z, const LowRank& part,
                                    const at::Tensor& norms, const at::Tensor& bias);

/// Squared lengths of the rows of a stored matrix, float64 [d_out].
[[nodiscard]] at::Tensor squared_row_norms(const at::Tensor& weight);

}  // namespace lancet
