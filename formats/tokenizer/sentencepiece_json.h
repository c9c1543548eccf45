#pragma once
// The tokenizer.json, without vocab and merges, that comes nearest to a SentencePiece model.

#include "formats/tokenizer/sentencepiece.h"

namespace lancet {

/// Has the decoder, the post-processor and the added tokens that the pipeline itself uses; its
/// normalizer and pre-tokenizer are what the `tokenizers` library can do instead of SentencePiece's
/// own.
[[nodiscard]] Json sentencepiece_json(const SentencePieceModel& model);

}  // namespace lancet
