#pragma once
// Greedy and sampled generation with a key/value cache, many prompts at once.

#include <vector>

#include "formats/tokenizer/tokenizer.h"
#include "model/decoder.h"
#include "model/requests.h"

namespace lancet {

/// Prompts of any length in one batch (no left padding); the same seed gives the same text,
/// whatever else is in the batch: prompt i draws from Random(seed, "generate", i).
[[nodiscard]] std::vector<Generation> generate(const Decoder& model, const Tokenizer& tokenizer,
                                               const std::vector<Prompt>& prompts,
                                               const SamplingOptions& options, std::uint64_t seed,
                                               const TextSink& sink = {});

/// Ids in, ids out: greedy continuation of each row by `count` tokens, no stop. For probes and
/// tests.
[[nodiscard]] std::vector<std::vector<std::int32_t>> generate_greedy(
    const Decoder& model, const std::vector<std::vector<std::int32_t>>& prompts,
    std::int64_t count);

}  // namespace lancet
