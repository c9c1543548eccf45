// Llama 3's scaling of RoPE, by its settings and by the divisors that GGUF keeps of it.
//   w_i = 2 pi theta^(2i/d)                                       wavelength
//   s_i = (context / w_i - low) / (high - low)                    a line in 1 / w_i
//   divisor_i = 1 where s_i >= 1, factor where s_i <= 0, else 1 / ((1 - s_i) / factor + s_i)
// The divisors say the line, of which context, low and high are one spelling among many.

#include <algorithm>
#include <cmath>
#include <numbers>

#include "formats/config/gguf_number.h"
#include "formats/config/rope_scaling.h"

namespace lancet {
namespace {

constexpr std::int64_t kUsualContext = 8192;

struct Point {
  double x = 0;  ///< 1 / wavelength
  double s = 0;
};
struct Line {
  double slope = 0, offset = 0;
};

double wavelength(double theta, std::size_t i, std::size_t count) {
  return 2.0 * std::numbers::pi *
         std::pow(theta, static_cast<double>(i) / static_cast<double>(count));
}

Line through(Point a, Point b) {
  const double slope = (a.s - b.s) / (a.x - b.x);
  return {slope, a.s - slope * a.x};
}

/// The line that divisors from 1 to `factor` say; with fewer than two between them, one that says
/// the same.
Line line_of(double theta, std::span<const float> divisors, float factor) {
  std::vector<Point> between;
  std::optional<Point> last_one, first_full;
  for (std::size_t i = 0; i < divisors.size(); ++i) {
    const double x = 1 / wavelength(theta, i, divisors.size());
    if (divisors[i] == 1) {
      last_one = {x, 1};
    } else if (divisors[i] == factor) {
      if (!first_full) first_full = {x, 0};
    } else {
      const double least = 1 / static_cast<double>(factor);
      between.push_back({x, (1 / static_cast<double>(divisors[i]) - least) / (1 - least)});
    }
  }
  if (between.size() >= 2) return through(between.front(), between.back());
  const Point full = first_full.value_or(Point{});
  if (between.empty()) return through(last_one.value_or(Point{2 * full.x, 1}), full);
  const Line line = through(between.front(), full);
  const bool reaches = !last_one || line.slope * last_one->x + line.offset >= 1;
  return reaches ? line : through(*last_one, between.front());
}

double rounded(double value, double step) { return std::round(value / step) * step; }

bool fits(const RopeSettings& rope, std::span<const float> divisors, float tolerance) {
  const auto own = llama3_divisors(rope, static_cast<std::int64_t>(divisors.size()) * 2);
  return std::ranges::equal(own, divisors, [tolerance](float a, float b) {
    return std::abs(a - b) <= tolerance * std::abs(a) + 0.01F * tolerance;
  });
}

}  // namespace

std::vector<float> llama3_divisors(const RopeSettings& rope, std::int64_t head_dim) {
  std::vector<float> out;
  const auto context = static_cast<double>(rope.original_context);
  const auto count = static_cast<std::size_t>(head_dim / 2);
  for (std::size_t i = 0; i < count; ++i) {
    const double wave = wavelength(rope.theta, i, count);
    const double s =
        (context / wave - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
    double divisor = 1.0 / ((1.0 - s) / rope.factor + s);
    if (wave < context / rope.high_freq_factor) divisor = 1.0;
    if (wave > context / rope.low_freq_factor) divisor = rope.factor;
    out.push_back(static_cast<float>(divisor));
  }
  return out;
}

std::optional<RopeSettings> llama3_of_divisors(double theta, std::span<const float> divisors) {
  constexpr float kSame = 1e-6F, kNear = 1e-4F;
  const float factor = *std::ranges::max_element(divisors);
  if (!std::isfinite(factor)) return std::nullopt;
  RopeSettings usual;
  usual.type = "llama3";
  usual.theta = theta;
  usual.factor = shortest_decimal(factor);
  usual.original_context = kUsualContext;
  if (fits(usual, divisors, kNear)) return usual;
  const Line line = line_of(theta, divisors, factor);
  if (!(line.slope > 0) || !(line.offset < 0)) return std::nullopt;
  // high - low is free: such that the context is the usual one, or low 1, in round numbers if any.
  RopeSettings exact = usual;
  const double range = kUsualContext / line.slope;
  exact.low_freq_factor = -line.offset * range;
  exact.high_freq_factor = exact.low_freq_factor + range;
  RopeSettings round = exact, from_one = exact;
  round.low_freq_factor = rounded(exact.low_freq_factor, 1.0 / 64);
  round.high_freq_factor = rounded(exact.high_freq_factor, 1.0 / 64);
  from_one.low_freq_factor = 1;
  from_one.high_freq_factor = rounded(1 - 1 / line.offset, 1.0 / 64);
  const double context = -line.slope / line.offset;
  if (context >= 1 && context < 1e12) from_one.original_context = std::llround(context);
  for (const RopeSettings& rope : {round, from_one})
    if (fits(rope, divisors, kSame)) return rope;
  if (fits(exact, divisors, kNear)) return exact;
  return std::nullopt;
}

}  // namespace lancet
