#pragma once
// What a text may be made of, and how likely its tokens were.

#include <cstdint>
#include <span>
#include <vector>

#include "model/requests.h"
#include "model/spec.h"

namespace lancet {

/// Ids that SamplingOptions' allowed_ids and modality leave unsaid. Errors: kUsage (ids the model
/// does not have, nothing left), kMismatch (image tokens of a model that has none).
[[nodiscard]] std::vector<IdRange> unsaid_ids(const DecoderSpec& spec,
                                              const SamplingOptions& options);

/// Those of [0, vocab) that lie in none of `ranges`, in order.
[[nodiscard]] std::vector<IdRange> other_ids(std::vector<IdRange> ranges, std::int64_t vocab);

/// Log probability of `id` under the softmax of `logits`, beside the `top` likeliest; texts are
/// left empty.
[[nodiscard]] TokenLogprob token_logprob(std::span<const float> logits, std::int32_t id,
                                         std::int64_t top);

}  // namespace lancet
