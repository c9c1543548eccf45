#include "formats/quant/dynamic_map.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace lancet {
namespace {

constexpr int kExponents = 7;        ///< powers of ten
constexpr float kSmallest = 1e-36F;  ///< largest size of a block that is taken for zeros

/// Means of neighbours of `count` + 1 points spread evenly over [0.1, 1].
std::vector<double> fractions(int count) {
  std::vector<double> out;
  out.reserve(static_cast<std::size_t>(count));
  const double step = 0.9 / count;
  for (int i = 0; i < count; ++i) out.push_back(0.1 + step * (i + 0.5));
  return out;
}

}  // namespace

DynamicMap::DynamicMap(bool with_sign) {
  // 10^-6 ... 10^0: each power has twice as many fractions as the one below it.
  std::vector<double> all{0, 1};
  for (int e = 0; e < kExponents; ++e) {
    const int count = with_sign ? 1 << e : 1 << (e + 1);
    for (const double fraction : fractions(count)) {
      const double value = fraction * std::pow(10.0, e - kExponents + 1);
      all.push_back(value);
      if (with_sign) all.push_back(-value);
    }
  }
  std::ranges::sort(all);
  for (std::size_t i = 0; i < values_.size(); ++i)
    values_[i] = static_cast<float>(all[std::min(i, all.size() - 1)]);
  for (std::size_t i = 0; i + 1 < values_.size(); ++i)
    borders_[i] = static_cast<float>(
        (static_cast<double>(values_[i]) + static_cast<double>(values_[i + 1])) / 2);
  borders_.back() = std::numeric_limits<float>::infinity();
  const auto below = [&](std::uint32_t bits) {
    return static_cast<int>(std::ranges::lower_bound(borders_, std::bit_cast<float>(bits)) -
                            borders_.begin());
  };
  for (std::uint32_t half = 0; half < first_.size(); ++half) {
    const std::uint32_t zeros = half << 16, ones = zeros | 0xFFFFU;
    const bool negative = half >> 15 != 0;
    const int least = below(negative ? ones : zeros);
    first_[half] = static_cast<std::uint8_t>(least);
    most_borders_ = std::max(most_borders_, below(negative ? zeros : ones) - least);
  }
}

std::uint8_t DynamicMap::nearest(float value) const noexcept {
  std::uint8_t code = first_[std::bit_cast<std::uint32_t>(value) >> 16];
  for (int i = 0; i < most_borders_; ++i) code += borders_[code] < value ? 1 : 0;
  return code;
}

void DynamicMap::decode(std::span<const std::uint8_t> codes, float scale,
                        float* out) const noexcept {
  for (std::size_t i = 0; i < codes.size(); ++i) out[i] = values_[codes[i]] * scale;
}

float DynamicMap::encode(std::span<const float> values, std::uint8_t* codes) const noexcept {
  float scale = 0;
  for (const float value : values) scale = std::max(scale, std::abs(value));
  if (!(scale > kSmallest)) scale = 0;
  const float inverse = scale > 0 ? 1 / scale : 0;
  for (std::size_t i = 0; i < values.size(); ++i) codes[i] = nearest(values[i] * inverse);
  return scale;
}

const DynamicMap& signed_map() {
  static const DynamicMap map(true);
  return map;
}

const DynamicMap& unsigned_map() {
  static const DynamicMap map(false);
  return map;
}

}  // namespace lancet
