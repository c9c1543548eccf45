#include "formats/quant/nf4.h"

#include <algorithm>
#include <cmath>

#include "formats/quant/dynamic_map.h"

namespace lancet {
namespace {

/// Quantiles of the normal distribution, with an exact 0 (arXiv:2305.14314, appendix E).
constexpr std::array<float, 16> kValues{-1.0F,
                                        -0.6961928009986877F,
                                        -0.5250730514526367F,
                                        -0.39491748809814453F,
                                        -0.28444138169288635F,
                                        -0.18477343022823334F,
                                        -0.09105003625154495F,
                                        0.0F,
                                        0.07958029955625534F,
                                        0.16093020141124725F,
                                        0.24611230194568634F,
                                        0.33791524171829224F,
                                        0.44070982933044434F,
                                        0.5626170039176941F,
                                        0.7229568362236023F,
                                        1.0F};
constexpr std::uint8_t kZero = 7;

/// Halfway between neighbours.
constexpr std::array<float, 15> kBorders = [] {
  std::array<float, 15> out{};
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(
        (static_cast<double>(kValues[i]) + static_cast<double>(kValues[i + 1])) / 2);
  }
  return out;
}();

/// The nearest code; of two, the lower one.
std::uint8_t nearest(float value) {
  std::uint8_t code = 0;
  for (const float border : kBorders) code = static_cast<std::uint8_t>(code + (value > border));
  return code;
}

float largest(std::span<const float> values) {
  float out = 0;
  for (const float value : values) out = std::max(out, std::fabs(value));
  return out;
}

}  // namespace

const std::array<float, 16>& nf4_values() noexcept { return kValues; }

void encode_nf4(std::span<const float> values, std::span<std::uint8_t> codes,
                std::span<float> maxima) {
  std::ranges::fill(codes, std::uint8_t{0});
  for (std::size_t block = 0; block < maxima.size(); ++block) {
    const std::size_t first = block * kNf4Block;
    const auto part =
        values.subspan(first, std::min<std::size_t>(kNf4Block, values.size() - first));
    maxima[block] = largest(part);
    const float inverse = maxima[block] > 0 ? 1 / maxima[block] : 0;
    for (std::size_t i = 0; i < part.size(); ++i) {
      const std::uint8_t code = maxima[block] > 0 ? nearest(part[i] * inverse) : kZero;
      std::uint8_t& byte = codes[(first + i) / 2];
      byte = static_cast<std::uint8_t>(byte | ((first + i) % 2 == 0 ? code << 4 : code));
    }
  }
}

void decode_nf4(std::span<const std::uint8_t> codes, std::span<const float> maxima,
                std::int64_t first, std::span<float> out) {
  auto at = static_cast<std::size_t>(first);
  for (float& value : out) {
    const std::uint8_t byte = codes[at / 2];
    const std::size_t code = at % 2 == 0 ? byte >> 4 : byte & 15U;
    value = kValues[code] * maxima[at / kNf4Block];
    ++at;
  }
}

DoubleQuantised quantise_maxima(std::span<const float> maxima) {
  DoubleQuantised out;
  double sum = 0;
  for (const float each : maxima) sum += static_cast<double>(each);
  out.mean = maxima.empty() ? 0 : static_cast<float>(sum / static_cast<double>(maxima.size()));
  out.codes.resize(maxima.size());
  std::vector<float> part;
  for (std::size_t first = 0; first < maxima.size(); first += kScaleBlock) {
    part.clear();
    for (const float each :
         maxima.subspan(first, std::min<std::size_t>(kScaleBlock, maxima.size() - first)))
      part.push_back(each - out.mean);
    out.maxima.push_back(signed_map().encode(part, out.codes.data() + first));
  }
  return out;
}

void restore_maxima(const DoubleQuantised& stored, std::int64_t first, std::span<float> out) {
  const std::array<float, 256>& map = signed_map().values();
  auto at = static_cast<std::size_t>(first);
  for (float& value : out) {
    value = map[stored.codes[at]] * stored.maxima[at / kScaleBlock] + stored.mean;
    ++at;
  }
}

float encode_int8(std::span<const float> row, std::span<std::int8_t> codes) {
  const float most = largest(row);
  const float by = most > 0 ? 127 / most : 0;
  for (std::size_t i = 0; i < row.size(); ++i)
    codes[i] = static_cast<std::int8_t>(std::nearbyint(row[i] * by));
  return most / 127;
}

}  // namespace lancet
