#include "formats/quant/fp8.h"

#include <algorithm>
#include <cmath>

namespace lancet {
namespace {

constexpr int kFp8Bias = 7, kFp8Mantissa = 3;
constexpr std::uint8_t kFp8Nan = 0x7f, kFp8Largest = 0x7e;

}  // namespace

std::uint8_t encode_fp8(float value) noexcept {
  const auto sign = static_cast<std::uint8_t>(std::signbit(value) ? 0x80 : 0);
  const float size = std::fabs(value);
  if (std::isnan(size)) return kFp8Nan;
  if (size >= kFp8Max) return sign | kFp8Largest;
  int exponent = 0;
  std::frexp(size, &exponent);  // size = f * 2^exponent, f in [0.5, 1); 0 where size is 0
  // Subnormal numbers have the step of the smallest normal ones.
  exponent = size == 0 ? 1 - kFp8Bias : std::max(exponent - 1, 1 - kFp8Bias);
  const auto steps =
      static_cast<int>(std::nearbyint(std::ldexp(size, kFp8Mantissa - exponent)));  // of 2^-3
  // Steps that reach the next power of two carry into the exponent by themselves.
  return sign | static_cast<std::uint8_t>(((exponent + kFp8Bias - 1) << kFp8Mantissa) + steps);
}

float encode_fp8(std::span<const float> row, std::span<std::uint8_t> codes) {
  float most = 0;
  for (const float value : row) most = std::max(most, std::fabs(value));
  const float scale = most > 0 ? most / kFp8Max : 1;
  std::ranges::transform(row, codes.begin(),
                         [scale](float value) { return encode_fp8(value / scale); });
  return scale;
}

}  // namespace lancet
