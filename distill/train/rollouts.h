#pragma once
// Answers that the student itself samples, for on-policy losses: to the prompts of a micro-batch,
// at temperature 1 from the whole distribution, so that what is sampled from is what is learnt.

#include <cstdint>

#include "distill/train/batch.h"
#include "formats/tokenizer/tokenizer.h"
#include "model/decoder.h"

namespace lancet {

class Rollouts {
 public:
  /// At most `tokens` (>= 1) of an answer. An answer ends with the special token that the answers
  /// in the data end with, else with the tokenizer's end token.
  Rollouts(const Tokenizer& tokenizer, std::int64_t tokens, std::uint64_t seed);

  /// A micro-batch of the same texts up to their first counted token, each with an answer of
  /// `student`. `draw` >= 0 numbers the micro-batches of a run, -1 - i those of an evaluation,
  /// which are the same draws each time. A function of student, prompts, seed and draw alone. Every
  /// answer has at least one token: an end token at once is an answer.
  [[nodiscard]] MicroBatch sample(const Decoder& student, const MicroBatch& data,
                                  std::int64_t draw) const;

 private:
  const Tokenizer& tokenizer_;
  std::int64_t tokens_;
  std::uint64_t seed_;
};

}  // namespace lancet
