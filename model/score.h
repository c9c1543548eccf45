#pragma once
// Negative log likelihood and perplexity. The head is applied in chunks of positions: logits of a
// whole text are never in memory.

#include <string>
#include <vector>

#include "formats/tokenizer/tokenizer.h"
#include "model/decoder.h"
#include "model/requests.h"

namespace lancet {

/// Sliding windows of `window` tokens that advance by `stride`; each token is scored once, with the
/// longest context its window gives; the first token of a text (without BOS) is context only. Sums
/// in float64.
[[nodiscard]] ScoreResult score(const Decoder& model, const Tokenizer& tokenizer,
                                const ScoreRequest& request);

/// The same for each text on its own, in windows of the model's maximum, at most 2048 tokens.
[[nodiscard]] std::vector<TextScore> score_each(const Decoder& model, const Tokenizer& tokenizer,
                                                const std::vector<std::string>& texts);

/// Log probabilities of `target` after `context`, teacher-forced, and whether each is the arg max,
/// for many pairs in one batch. Used by probes: nll(s|p) is the mean of -logprob.
struct ContinuationScore {
  std::vector<double> logprobs;     ///< per target token, nats
  std::vector<std::int64_t> ranks;  ///< per target token, 1 = arg max
};
[[nodiscard]] std::vector<ContinuationScore> score_continuations(
    const Decoder& model,
    const std::vector<std::pair<std::vector<std::int32_t>, std::vector<std::int32_t>>>& pairs);

}  // namespace lancet
