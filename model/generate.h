#pragma once
// Greedy and sampled generation with a key/value cache, many prompts at once.

#include <memory>
#include <vector>

#include "formats/tokenizer/tokenizer.h"
#include "model/decoder.h"
#include "model/requests.h"

namespace lancet {

/// Prompts of any length in one batch (no left padding); the same seed gives the same text,
/// whatever else is in the batch: prompt i draws from Random(seed, "generate", i). Where positions
/// are learned a text ends with the last of them ("length"); kInput for a prompt that has more.
[[nodiscard]] std::vector<Generation> generate(const Decoder& model, const Tokenizer& tokenizer,
                                               const std::vector<Prompt>& prompts,
                                               const SamplingOptions& options, std::uint64_t seed,
                                               const TextSink& sink = {});

/// A text that goes on turn by turn: what was computed for earlier turns is kept, and of the next
/// prompt only those tokens are read from which on it differs. Answers are those of generate() but
/// for the order of sums.
class Conversation {
 public:
  Conversation(const Decoder& model, const SamplingOptions& options);
  ~Conversation();
  Conversation(Conversation&&) noexcept;
  Conversation& operator=(Conversation&&) noexcept;

  /// Each prompt is the whole text so far. An answer that is interrupted is remembered as far as it
  /// came.
  [[nodiscard]] Generation answer(const Tokenizer& tokenizer, const Prompt& prompt,
                                  std::uint64_t seed, const TextSink& sink = {});

 private:
  struct State;
  SamplingOptions options_;
  std::unique_ptr<State> state_;
};

/// Ids in, ids out: greedy continuation of each row by `count` tokens, no stop. For probes and
/// tests.
[[nodiscard]] std::vector<std::vector<std::int32_t>> generate_greedy(
    const Decoder& model, const std::vector<std::vector<std::int32_t>>& prompts,
    std::int64_t count);

}  // namespace lancet
