#pragma once
// A BERT vocabulary as the metadata of a GGUF file: tokenizer.ggml.model "bert" (WordPiece).

#include "core/json.h"
#include "formats/containers/gguf.h"

namespace lancet {

/// The whole tokenizer.json. Error(kInput) for metadata that do not fit together.
[[nodiscard]] Json bert_from_gguf(const GgufHeader& header);

}  // namespace lancet
