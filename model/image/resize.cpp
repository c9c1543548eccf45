#include <algorithm>
#include <cmath>
#include <numbers>

#include "model/image/picture.h"

namespace lancet {
namespace {

constexpr double kSupport = 3;  ///< of the filter, in pixels of the smaller picture
constexpr int kBits = 22;       ///< of a coefficient behind the point

double sinc(double x) {
  if (x == 0) return 1;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}
double lanczos(double x) {
  return -kSupport <= x && x < kSupport ? sinc(x) * sinc(x / kSupport) : 0;
}

std::int64_t half_up(double x) { return static_cast<std::int64_t>(std::floor(x + 0.5)); }

/// The pixels that one pixel of the result is made of, and their shares.
struct Taps {
  std::int64_t first = 0;
  std::vector<std::int32_t> shares;
};

std::vector<Taps> taps_of(std::int64_t in, std::int64_t out) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double stretch = std::max(scale, 1.0), reach = kSupport * stretch;
  std::vector<Taps> all(static_cast<std::size_t>(out));
  for (std::int64_t i = 0; i < out; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    Taps& taps = all[static_cast<std::size_t>(i)];
    taps.first = std::max<std::int64_t>(0, half_up(center - reach));
    const std::int64_t end = std::min(in, half_up(center + reach));
    std::vector<double> weights;
    double sum = 0;
    for (std::int64_t x = taps.first; x < end; ++x) {
      weights.push_back(lanczos((static_cast<double>(x) - center + 0.5) * (1.0 / stretch)));
      sum += weights.back();
    }
    for (const double weight : weights) {
      const double share = (sum != 0 ? weight / sum : weight) * (1 << kBits);
      taps.shares.push_back(static_cast<std::int32_t>(share < 0 ? share - 0.5 : share + 0.5));
    }
  }
  return all;
}

/// One value of the result: `in` is the first pixel's, `step` apart from the next one's.
std::uint8_t mix(const Taps& taps, const std::uint8_t* in, std::int64_t step) {
  std::int32_t sum = 1 << (kBits - 1);
  for (const std::int32_t share : taps.shares) {
    sum += share * *in;
    in += step;
  }
  return static_cast<std::uint8_t>(std::clamp(sum >> kBits, 0, 255));
}

}  // namespace

Picture resized(const Picture& picture, std::int64_t width, std::int64_t height) {
  const auto sized = [](std::int64_t w, std::int64_t h) {
    return Picture{w, h, std::vector<std::uint8_t>(static_cast<std::size_t>(3 * w * h))};
  };
  Picture rows = picture;
  if (width != picture.width) {
    const std::vector<Taps> taps = taps_of(picture.width, width);
    rows = sized(width, picture.height);
    for (std::int64_t at = 0; at < 3 * width * picture.height; ++at) {
      const std::int64_t y = at / (3 * width), x = at / 3 % width;
      const Taps& each = taps[static_cast<std::size_t>(x)];
      rows.rgb[static_cast<std::size_t>(at)] =
          mix(each, picture.rgb.data() + 3 * (y * picture.width + each.first) + at % 3, 3);
    }
  }
  if (height == rows.height) return rows;
  const std::vector<Taps> taps = taps_of(rows.height, height);
  Picture out = sized(width, height);
  for (std::int64_t at = 0; at < 3 * width * height; ++at) {
    const Taps& each = taps[static_cast<std::size_t>(at / (3 * width))];
    out.rgb[static_cast<std::size_t>(at)] =
        mix(each, rows.rgb.data() + 3 * width * each.first + at % (3 * width), 3 * width);
  }
  return out;
}

}  // namespace lancet
