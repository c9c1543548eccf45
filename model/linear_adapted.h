#pragma once
// Linear layers with low-rank parts, for linear.cpp.

#include <span>
#include <vector>

#include <ATen/ATen.h>

#include "model/linear.h"

namespace lancet {

/// Whether the layer has a low-rank part that is switched on.
[[nodiscard]] bool is_adapted(const Linear& layer);

/// apply_linears where at least one layer is adapted. Differentiable with respect to x and the
/// factors; weights get no gradient.
[[nodiscard]] std::vector<at::Tensor> apply_adapted(std::span<const Linear> layers,
                                                    const Derived& x);

/// A and B of every adapted layer, in order.
[[nodiscard]] std::vector<at::Tensor> factors_of(std::span<const Linear> layers);
/// Whether a pass needs a graph: gradients are wanted of its input or of a factor.
[[nodiscard]] bool learns(const at::Tensor& input, std::span<const at::Tensor> factors);

}  // namespace lancet
