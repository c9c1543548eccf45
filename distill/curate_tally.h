#pragma once
// What a filter did: counts by rule, and samples of what it dropped.

#include <map>
#include <string>
#include <vector>

#include "core/json.h"
#include "distill/filter.h"

namespace lancet {

/// Lengths of rows by powers of two of their texts' bytes.
struct LengthHistogram {
  std::vector<std::uint64_t> counts = std::vector<std::uint64_t>(32);
  void add(std::size_t bytes);
  [[nodiscard]] Json json() const;  ///< [{"from", "rows"}] without empty ends
};

class FilterTally {
 public:
  static constexpr std::size_t kSamples = 20;

  /// `index`: the filter's place, part of the choice of samples.
  FilterTally(std::uint64_t seed, std::size_t index) : seed_(seed), index_(index) {}
  void see() { ++seen_; }
  /// `place`: "FILE:LINE".
  void drop(const Row& row, const std::string& place, const Drop& why);
  [[nodiscard]] std::uint64_t seen() const noexcept { return seen_; }
  [[nodiscard]] std::uint64_t dropped() const noexcept { return dropped_; }
  /// {"seen","dropped","rules":{...}} and with samples "samples":[{"row","rule","detail","text"}].
  [[nodiscard]] Json json(bool samples) const;

 private:
  struct Sample {
    std::uint64_t priority;
    std::string place;
    Drop why;
    std::string text;
  };
  std::uint64_t seed_;
  std::size_t index_;
  std::uint64_t seen_ = 0, dropped_ = 0;
  std::map<std::string, std::uint64_t> rules_;
  std::vector<Sample> samples_;  ///< those of least priority, which is random: a fair sample
};

}  // namespace lancet
