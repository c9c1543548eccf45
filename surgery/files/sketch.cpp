#include "surgery/files/sketch.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/rng.h"

namespace lancet {
namespace {

constexpr std::size_t kProjections = 8;
constexpr std::size_t kBlock = 1 << 14;

}  // namespace

std::vector<double> sketch_plain(const PlainTensor& tensor) {
  const std::vector<float> values = plain_values(tensor);
  const Random random(0, "sketch");
  std::array<double, kProjections> sums{};
  double square = 0;
  std::vector<std::uint32_t> bits(kBlock);
  for (std::size_t first = 0; first < values.size(); first += kBlock) {
    const std::size_t count = std::min(kBlock, values.size() - first);
    random.fill_bits(first, std::span(bits).first(count));
    for (std::size_t i = 0; i < count; ++i) {
      const auto value = static_cast<double>(values[first + i]);
      square += value * value;
      for (std::size_t p = 0; p < kProjections; ++p)
        sums[p] += (bits[i] >> p & 1U) != 0 ? value : -value;
    }
  }
  const double size = square > 0 ? std::sqrt(square) : 1;
  std::vector<double> out;
  out.reserve(kProjections);
  for (const double sum : sums) out.push_back(sum / size);
  return out;
}

double sketch_distance(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]));
  return worst;
}

}  // namespace lancet
