#pragma once
// Linear layers with low-rank parts by LibTorch's operators, for linear_adapted.cpp: on any device
// and in any dtype.

#include <span>
#include <vector>

#include <ATen/ATen.h>

#include "model/linear.h"

namespace lancet {

/// y of each layer for x [..., d_in], magnitudes apart, in the dtype of x. Factors that read the
/// same input are one product; the second factor is accumulated into the base's output by the
/// product itself, forward and backward. Differentiable with respect to x and the factors.
[[nodiscard]] std::vector<at::Tensor> apply_grouped(std::span<const Linear> layers,
                                                    const Derived& x);

}  // namespace lancet
