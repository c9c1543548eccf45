#pragma once
// The non-linear middle of an MLP.

#include <ATen/ATen.h>

#include "model/derived.h"
#include "model/spec.h"

namespace lancet {

/// activation(gate) * up, or activation(gate) where `up` is undefined (an MLP without a gate).
[[nodiscard]] Derived apply_activation(Activation kind, const at::Tensor& gate,
                                       const at::Tensor& up);

}  // namespace lancet
