#pragma once
// Models read from, and vocabularies written to, the "model" of a tokenizer.json.

#include <memory>
#include <string>

#include "formats/tokenizer/model.h"

namespace lancet {

/// "BPE", "Unigram", "WordPiece" or "WordLevel". Files before tokenizers 0.20 may leave the type
/// out; the members then tell.
[[nodiscard]] std::string model_type(const Json& model, const Where& where);

/// Error(kMismatch) for another type, by name. `raw_bytes` as PreTokenizers::raw_bytes.
[[nodiscard]] std::unique_ptr<TokenModel> make_model(const std::string& type, const Json& model,
                                                     const Where& where, bool raw_bytes);

/// The object "vocab", from piece to id. Error(kInput): an id that is none or occurs twice.
[[nodiscard]] Vocabulary read_vocabulary(const Json& model, const Where& where);
/// The same object, by id.
[[nodiscard]] Json vocabulary_json(const Vocabulary& vocabulary);

}  // namespace lancet
