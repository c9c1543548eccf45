#pragma once
// Guards: computed on the edited model before anything is written (editing reference 7.3).

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "core/json.h"

namespace lancet {

struct GuardLimits {
  double leak = 0.1;
  double perplexity_ratio = 1.1;
  double relative_norm = 1.0;  ///< ||dW||_F / ||W||_F of a layer
  double denominator = 1e-3;   ///< |k . u| / |k|, the smallest
};

struct GuardValues {
  std::optional<double> leak_rate;
  std::optional<double> perplexity_before, perplexity_after;
  double relative_norm = 0;   ///< the largest of the layers
  double spectral_ratio = 0;  ///< sigma_1(dW) / sigma_1(W), the largest of the layers
  std::optional<double> denominator;
};

struct GuardVerdict {
  bool passed = true;
  std::vector<std::string> problems;  ///< one sentence each
  Json json;                          ///< values, limits, passed
};

[[nodiscard]] GuardVerdict judge(const GuardValues& values, const GuardLimits& limits);

/// Largest singular value by power iteration in float64 from a fixed start.
[[nodiscard]] double spectral_norm(const at::Tensor& matrix, std::int64_t iterations = 30);

}  // namespace lancet
