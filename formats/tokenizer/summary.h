#pragma once
// Kind and size of a checkpoint's tokenizer without building it: `inspect` must stay in
// milliseconds.

#include <cstdint>
#include <optional>
#include <string>

#include "formats/checkpoint.h"

namespace lancet {

struct TokenizerSummary {
  std::string kind;             ///< "BPE", "Unigram", "WordPiece", "WordLevel", or GGUF's own word
  std::int64_t vocab_size = 0;  ///< entries of the model's vocabulary
};

/// Scans tokenizer.json once for model.type and the number of entries of model.vocab; nothing when
/// there is no tokenizer or the text is not what a tokenizer.json looks like (building it will say
/// why).
[[nodiscard]] std::optional<TokenizerSummary> summarize_tokenizer(const Checkpoint& checkpoint);

}  // namespace lancet
