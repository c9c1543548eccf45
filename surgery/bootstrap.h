#pragma once
// How sure is a mean over a few facts: percentile bootstrap (Efron 1979) over facts.

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace lancet {

/// The middle 95 % of the means of `rounds` resamples of `values`, drawn with replacement from
/// `seed`. Nothing for fewer than two values.
[[nodiscard]] std::optional<std::pair<double, double>> bootstrap_interval(
    const std::vector<double>& values, std::uint64_t seed, int rounds = 2000);

}  // namespace lancet
