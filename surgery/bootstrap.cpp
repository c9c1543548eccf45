#include "surgery/bootstrap.h"

#include <algorithm>
#include <cmath>

#include "core/rng.h"

namespace lancet {

std::optional<std::pair<double, double>> bootstrap_interval(const std::vector<double>& values,
                                                            std::uint64_t seed, int rounds) {
  if (values.size() < 2) return std::nullopt;
  const Random random(seed, "bootstrap");
  std::vector<double> means;
  std::uint64_t at = 0;
  for (int round = 0; round < rounds; ++round) {
    double sum = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double share = random.uniform64(at++);
      sum += values[static_cast<std::size_t>(share * static_cast<double>(values.size()))];
    }
    means.push_back(sum / static_cast<double>(values.size()));
  }
  std::ranges::sort(means);
  const auto place = [&](double share) {
    return means[static_cast<std::size_t>(
        std::lround(share * static_cast<double>(means.size() - 1)))];
  };
  return std::pair{place(0.025), place(0.975)};
}

}  // namespace lancet
