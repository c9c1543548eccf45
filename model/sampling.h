#pragma once
// From logits to the next token.

#include <cstdint>
#include <span>
#include <unordered_set>
#include <vector>

#include "core/rng.h"
#include "model/requests.h"

namespace lancet {

/// Throws kUsage for values out of range (max_tokens >= 1, temperature >= 0, 0 < top_p <= 1, ...).
void check_sampling(const SamplingOptions& options);

/// The `count` ids with the largest logits (at most all), by falling logit, ties by id.
[[nodiscard]] std::vector<std::int32_t> best_ids(std::span<const float> logits, std::size_t count);

/// Draws for one sequence. The order is that of transformers: repetition penalty, temperature,
/// top-k, top-p, min-p. The n-th draw uses value n of Random(seed, "generate", sequence), so it
/// depends on nothing else.
class Sampler {
 public:
  Sampler(const SamplingOptions& options, std::uint64_t seed, std::uint32_t sequence);
  /// Tokens that the repetition penalty counts as seen.
  void see(std::int32_t id);
  /// The next token; `logits` is changed by the penalty. Temperature 0 takes the first maximum.
  [[nodiscard]] std::int32_t next(std::span<float> logits);

 private:
  [[nodiscard]] std::int32_t draw(std::span<const float> logits, double uniform) const;

  SamplingOptions options_;
  Random random_;
  std::uint64_t draws_ = 0;
  std::unordered_set<std::int32_t> seen_;
};

}  // namespace lancet
