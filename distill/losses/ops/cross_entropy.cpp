#include "distill/losses/ops/cross_entropy.h"

#include <algorithm>
#include <cmath>

#include "model/kernels/elementwise.h"

namespace lancet::losses {

void exp_shifted(std::span<float> z, double shift) {
  const auto by = static_cast<float>(shift);
  for (float& each : z) each -= by;
  kernels::exp_row(z.data(), z.data(), static_cast<std::int64_t>(z.size()));
}

double log_add(double a, double b) {
  const double high = std::max(a, b);
  return std::isinf(high) ? high : high + std::log1p(std::exp(std::min(a, b) - high));
}

double cross_entropy(std::span<float> z, std::int32_t target, bool gradient, double scale) {
  const auto at = static_cast<std::size_t>(target);
  const double log_sum = kernels::log_sum_exp(z.data(), static_cast<std::int64_t>(z.size()));
  const double loss = log_sum - static_cast<double>(z[at]);
  if (!gradient) return loss;
  exp_shifted(z, log_sum);
  z[at] -= 1;
  if (scale != 1) {
    for (float& each : z) each *= static_cast<float>(scale);
  }
  return loss;
}

}  // namespace lancet::losses
