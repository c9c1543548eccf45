#pragma once
// RMS norm and layer norm over the last dimension, differentiable with respect to the input.

#include <ATen/ATen.h>

#include "model/spec.h"

namespace lancet {

struct Norm {
  NormSpec spec;
  at::Tensor weight;  ///< [d]; float32 on the CPU, with spec.weight_offset already added; ones
                      ///< where the norm has none
  at::Tensor bias;    ///< [d] of a layer norm, or undefined
};

/// RMS: x / sqrt(mean(x^2) + eps) in float32, times the weight after the cast back to x's dtype
/// (before it where spec.scale_before_cast). Layer norm as at::layer_norm.
[[nodiscard]] at::Tensor apply_norm(const Norm& norm, const at::Tensor& x);

}  // namespace lancet
