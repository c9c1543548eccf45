#pragma once
// What training has changed, asked of one model whose adapter is switched off and on: samples, and
// whether the base's abilities are still there.

#include <vector>

#include "distill/train/dataset.h"
#include "distill/train/log.h"
#include "formats/tokenizer/tokenizer.h"
#include "model/decoder.h"
#include "model/lora.h"

namespace lancet {

/// Greedy answers to the prompts of the first rows, held-out ones where there are any.
[[nodiscard]] std::vector<SampleRecord> sample_texts(const Decoder& student, LoraAdapter& adapter,
                                                     const Tokenizer& tokenizer,
                                                     const Dataset& data, std::size_t count);

/// forgetting_json of the base and the student.
[[nodiscard]] Json measure_forgetting(const Decoder& student, LoraAdapter& adapter,
                                      const Tokenizer& tokenizer);

}  // namespace lancet
