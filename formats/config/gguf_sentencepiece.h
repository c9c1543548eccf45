#pragma once
// The tokenizer.json of a SentencePiece BPE model (Llama 2, Mistral, Gemma) as llama.cpp's
// vocabulary kind "llama": pieces with scores, the highest of which merges first.

#include <string>
#include <vector>

#include "core/json.h"

namespace lancet {

/// BPE over characters with byte fallback.
[[nodiscard]] bool is_sentencepiece_bpe(const Json& tokenizer);

/// A blank goes in front of a text.
[[nodiscard]] bool adds_space_prefix(const Json& tokenizer);

/// Scores by id: minus the place of a piece among those that merges make, 0 for the others.
/// `types`: 1 for normal pieces; unknown and byte pieces are marked here. kMismatch where scores
/// cannot say what the merges say, or the splitting of text is another than a blank's.
[[nodiscard]] std::vector<double> sentencepiece_scores(const Json& tokenizer,
                                                       const std::vector<std::string>& tokens,
                                                       std::vector<std::int64_t>& types);

}  // namespace lancet
