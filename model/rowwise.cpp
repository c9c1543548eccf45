#include "model/rowwise.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "model/kernels/elementwise.h"

namespace lancet::rowwise {
namespace {

constexpr std::int64_t kLanes = 16;

/// sum of a[i] * b[i]: partial sums that a compiler can keep in vector registers, added in double.
double dot(const float* a, const float* b, std::int64_t count) {
  std::array<float, kLanes> lane{};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::int64_t l = 0; l < kLanes; ++l)
      lane[static_cast<std::size_t>(l)] += a[i + l] * b[i + l];
  }
  double sum = 0;
  for (const float value : lane) sum += static_cast<double>(value);
  for (; i < count; ++i) sum += static_cast<double>(a[i] * b[i]);
  return sum;
}

}  // namespace

void rms_norm_backward(const float* x, const float* weight, float eps, const float* dy, float* dx,
                       std::int64_t d) {
  const auto size = static_cast<double>(d);
  const double rstd = 1 / std::sqrt(dot(x, x, d) / size + static_cast<double>(eps));
  for (std::int64_t i = 0; i < d; ++i) dx[i] = dy[i] * weight[i];
  const auto slope = static_cast<float>(rstd * rstd * dot(dx, x, d) / size);
  const auto scale = static_cast<float>(rstd);
  for (std::int64_t i = 0; i < d; ++i) dx[i] = scale * (dx[i] - slope * x[i]);
}

void silu_mul_backward(const float* gate, const float* up, const float* dy, float* d_gate,
                       float* d_up, std::int64_t count) {
  constexpr std::int64_t kBlock = 256;
  std::array<float, kBlock> e{};
  for (std::int64_t first = 0; first < count; first += kBlock) {
    const std::int64_t n = std::min(kBlock, count - first);
    const float* g = gate + first;
    for (std::int64_t i = 0; i < n; ++i) e[static_cast<std::size_t>(i)] = -g[i];
    kernels::exp_row(e.data(), e.data(), n);
    for (std::int64_t i = 0; i < n; ++i) {
      const float s = 1 / (1 + e[static_cast<std::size_t>(i)]);
      d_up[first + i] = dy[first + i] * (g[i] * s);
      d_gate[first + i] = (dy[first + i] * up[first + i]) * (s * (1 + g[i] * (1 - s)));
    }
  }
}

void softmax_backward(const float* p, float* dp, std::int64_t size) {
  const auto mean = static_cast<float>(dot(p, dp, size));
  for (std::int64_t i = 0; i < size; ++i) dp[i] = p[i] * (dp[i] - mean);
}

std::int64_t count_above(const float* x, float limit, std::int64_t count) {
  std::int32_t above = 0;
  for (std::int64_t i = 0; i < count; ++i) above += x[i] > limit ? 1 : 0;
  return above;
}

std::int64_t arg_max(const float* x, std::int64_t count) {
  std::array<float, kLanes> lane{};
  lane.fill(-INFINITY);
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::int64_t l = 0; l < kLanes; ++l) {
      float& best = lane[static_cast<std::size_t>(l)];
      best = x[i + l] > best ? x[i + l] : best;
    }
  }
  float best = *std::ranges::max_element(lane);
  for (; i < count; ++i) best = x[i] > best ? x[i] : best;
  const float* at = std::find(x, x + count, best);
  return at == x + count ? 0 : at - x;
}

}  // namespace lancet::rowwise
