#pragma once
// A base and its student side by side: answers to a few prompts of the data, and what became of
// the base's abilities.

#include <span>
#include <vector>

#include "distill/train/dataset.h"
#include "distill/train/log.h"
#include "formats/tokenizer/tokenizer.h"
#include "model/decoder.h"

namespace lancet {

struct BeforeAfter {
  std::vector<SampleRecord> samples;
  Json forgetting;  ///< forgetting_json
};

/// `student`: the base with its adapter. Prompts are the first `samples` held-out rows, or training
/// rows where none is held out; answers are greedy, at most 64 tokens. Rows of preferences give
/// none.
[[nodiscard]] BeforeAfter compare_models(const Decoder& base, const Decoder& student,
                                         const Tokenizer& tokenizer, const Dataset& data,
                                         std::size_t samples = 4);

}  // namespace lancet
