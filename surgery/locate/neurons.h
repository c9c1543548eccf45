#pragma once
// Knowledge neurons (Dai et al. 2022, arXiv:2104.08696): units of the MLPs (inputs of the down
// projections) at the last token of a prompt, by integrated gradients from zero to their value a:
//   attribution_i = a_i / steps * sum_{s = 1 .. steps} d p(target) / d a_i   at (s / steps) a,
// one layer scaled at a time; refined over paraphrases; checked by putting them to zero and by
// doubling them.

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/ATen.h>

#include "surgery/locate/prompt.h"

namespace lancet {

struct Neuron {
  std::int64_t layer = 0, unit = 0;
  double attribution = 0;    ///< mean over the prompts, in units of p(target)
  std::int64_t prompts = 0;  ///< in how many it stands above the threshold
};

/// float64 [layers, d_ff]. Only the last prompt token and those of the target run again: the tokens
/// before it come from a cache. All steps of many layers share a batch, at most `chunk_bytes` of
/// activations.
[[nodiscard]] at::Tensor attribute_units(const Decoder& model, const LocatePrompt& prompt,
                                         std::int64_t steps,
                                         std::int64_t chunk_bytes = 256LL << 20);

struct Refinement {
  double threshold = 0.2;  ///< of the largest attribution of the same prompt
  double share = 0.4;      ///< of the prompts
  std::int64_t most = 20;
};
/// Units above the threshold in enough prompts, largest mean attribution first.
[[nodiscard]] std::vector<Neuron> refine_units(std::span<const at::Tensor> attributions,
                                               const Refinement& rule);

/// p(target) when the units' activations at the last prompt token are multiplied by `factor`.
[[nodiscard]] double probability_with(const Decoder& model, const LocatePrompt& prompt,
                                      std::span<const Neuron> units, double factor);

/// As many units in each layer as `units` has there, drawn at random: what the checks must beat.
[[nodiscard]] std::vector<Neuron> random_units(const Decoder& model, std::span<const Neuron> units,
                                               std::uint64_t seed);

}  // namespace lancet
