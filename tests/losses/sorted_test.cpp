// Sorted probabilities of vocabularies of different sizes.
#include <algorithm>
#include <cmath>
#include <functional>

#include "core/rng.h"
#include "distill/losses/ops/divergence.h"
#include "distill/losses/ops/sorted_distance.h"
#include "model/kernels/elementwise.h"
#include "tests/catch.h"
#include "tests/tolerances.h"

using namespace lancet;

namespace {

std::vector<float> logits_of(std::size_t n, std::uint64_t seed) {
  std::vector<float> out(n);
  Random(seed, "logits").fill_normal(0, out);
  return out;
}

std::vector<float> softmax(std::vector<float> z) {
  losses::log_softmax(z, 1);
  kernels::exp_row(z.data(), z.data(), static_cast<std::int64_t>(z.size()));
  return z;
}

/// By sorting and padding.
double plain(std::vector<float> p, std::vector<float> q) {
  const std::size_t n = std::max(p.size(), q.size());
  p.resize(n, 0);
  q.resize(n, 0);
  std::ranges::sort(p, std::greater());
  std::ranges::sort(q, std::greater());
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i)
    sum += std::fabs(static_cast<double>(p[i]) - static_cast<double>(q[i]));
  return sum;
}

}  // namespace

TEST_CASE("losses: sorted probabilities differ by what sorting and padding says, in any sizes") {
  const std::vector<std::pair<std::size_t, std::size_t>> sizes{{50, 50}, {37, 90}, {3000, 800}};
  for (const auto& [theirs, ours] : sizes) {
    const std::vector<float> p = softmax(logits_of(theirs, 1));
    const std::vector<float> z = logits_of(ours, 2);
    const std::vector<float> q = softmax(z);
    std::vector<float> own = p, gradient(ours);
    const double value = losses::sorted_distance(own, q, gradient);
    CHECK(std::fabs(value - plain(p, q)) < 1e-9);
    CHECK(std::ranges::is_sorted(own, std::greater()));
    // Along a direction; the order of the probabilities stays.
    const std::vector<float> direction = logits_of(ours, 3);
    const float step = 1e-3F;
    std::vector<float> above = z, below = z;
    double slope = 0;
    for (std::size_t j = 0; j < ours; ++j) {
      above[j] += step * direction[j];
      below[j] -= step * direction[j];
      slope += static_cast<double>(gradient[j]) * static_cast<double>(direction[j]);
    }
    const double rise = (plain(p, softmax(above)) - plain(p, softmax(below))) / (2e-3);
    CHECK(std::fabs(rise - slope) < tolerance::kFiniteDifference * std::max(1.0, std::fabs(slope)));
  }
}
