#include "model/rowwise.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace lancet::rowwise {
namespace {

constexpr std::int64_t kLanes = 16;

}  // namespace

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
