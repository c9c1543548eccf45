#include "model/sampling.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <numeric>
#include <string>
#include <vector>

#include "core/error.h"
#include "model/rowwise.h"

namespace lancet {
namespace {

void require(bool good, std::string_view option, std::string_view range, double found) {
  if (!good) {
    fail(ErrorKind::kUsage, "generate",
         "expected " + std::string(option) + " " + std::string(range) + ", found " +
             std::to_string(found));
  }
}

/// The fewest best ids whose weights reach `share`. Their number is small as a rule: more of the
/// vocabulary is sorted only when it is not.
std::vector<std::int32_t> nucleus(std::span<const float> logits,
                                  const std::function<double(std::int32_t)>& weight_of,
                                  double share) {
  for (std::size_t sorted = 256;; sorted *= 4) {
    std::vector<std::int32_t> ids = best_ids(logits, sorted);
    double sum = 0;
    std::size_t count = 0;
    while (count < ids.size() && (count == 0 || sum < share)) sum += weight_of(ids[count++]);
    if (sum >= share || ids.size() == logits.size()) {
      ids.resize(count);
      return ids;
    }
  }
}

/// First index at which the running sum of the weights passes `target`; zero weights are never
/// picked.
std::size_t pick(const std::vector<double>& weight, double target) {
  double sum = 0;
  std::size_t last = 0;
  for (std::size_t i = 0; i < weight.size(); ++i) {
    if (weight[i] == 0) continue;
    last = i;
    sum += weight[i];
    if (target < sum) break;
  }
  return last;
}

}  // namespace

std::vector<std::int32_t> best_ids(std::span<const float> logits, std::size_t count) {
  std::vector<std::int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto before = [&](std::int32_t a, std::int32_t b) {
    const float x = logits[static_cast<std::size_t>(a)];
    const float y = logits[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  };
  count = std::min(count, ids.size());
  std::partial_sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count), ids.end(),
                    before);
  ids.resize(count);
  return ids;
}

void check_sampling(const SamplingOptions& options) {
  require(options.max_tokens >= 1, "--max-tokens", "of at least 1",
          static_cast<double>(options.max_tokens));
  require(options.temperature >= 0 && std::isfinite(options.temperature), "--temperature",
          "of at least 0", options.temperature);
  require(options.top_k >= 0, "--top-k", "of at least 0", static_cast<double>(options.top_k));
  require(options.top_p > 0 && options.top_p <= 1, "--top-p", "above 0 and at most 1",
          options.top_p);
  require(options.min_p >= 0 && options.min_p <= 1, "--min-p", "from 0 to 1", options.min_p);
  require(options.repetition_penalty > 0 && std::isfinite(options.repetition_penalty),
          "--repetition-penalty", "above 0", options.repetition_penalty);
  require(options.logprobs >= -1 && options.logprobs <= 1000, "--logprobs", "from 0 to 1000",
          static_cast<double>(options.logprobs));
  for (const std::string& stop : options.stop) {
    if (stop.empty())
      fail(ErrorKind::kUsage, "generate",
           "expected --stop to be at least one character, found none");
  }
}

Sampler::Sampler(const SamplingOptions& options, std::uint64_t seed, std::uint32_t sequence)
    : options_(options), random_(seed, "generate", sequence) {}

void Sampler::see(std::int32_t id) {
  if (options_.repetition_penalty != 1) seen_.insert(id);
}

std::int32_t Sampler::next(std::span<float> logits) {
  const auto penalty = static_cast<float>(options_.repetition_penalty);
  for (const std::int32_t id : seen_) {
    float& logit = logits[static_cast<std::size_t>(id)];
    logit = logit < 0 ? logit * penalty : logit / penalty;
  }
  const auto size = static_cast<std::int64_t>(logits.size());
  if (options_.temperature == 0)
    return static_cast<std::int32_t>(rowwise::arg_max(logits.data(), size));
  return draw(logits, random_.uniform64(draws_++));
}

std::int32_t Sampler::draw(std::span<const float> logits, double uniform) const {
  // Weights relative to the largest, whose own is 1.
  const auto top = static_cast<double>(std::ranges::max(logits));
  const auto weight_of = [&](std::int32_t id) {
    const auto logit = static_cast<double>(logits[static_cast<std::size_t>(id)]);
    return std::exp((logit - top) / options_.temperature);
  };
  const auto sum = [](const std::vector<double>& values) {
    return std::accumulate(values.begin(), values.end(), 0.0);
  };
  std::vector<std::int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  if (options_.top_k > 0) ids = best_ids(logits, static_cast<std::size_t>(options_.top_k));
  std::vector<double> weight;
  std::ranges::transform(ids, std::back_inserter(weight), weight_of);
  double total = sum(weight);
  if (options_.top_p < 1) {
    ids = nucleus(logits, weight_of, options_.top_p * total);
    weight.clear();
    std::ranges::transform(ids, std::back_inserter(weight), weight_of);
    total = sum(weight);
  }
  if (options_.min_p > 0) {
    for (double& value : weight) value = value < options_.min_p ? 0 : value;
    total = sum(weight);
  }
  return ids[pick(weight, uniform * total)];
}

}  // namespace lancet
