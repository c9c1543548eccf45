#pragma once
// What a training run depends on, by content: a run that is resumed must be the same run.

#include <string>

#include "core/json.h"
#include "formats/model_source.h"
#include "formats/tokenizer/tokenizer.h"

namespace lancet {

/// {"config", "tokenizer", "files": [...], "adapter"}: SHA-256 of config.json's and
/// tokenizer.json's canonical text, of the bytes of every weight file in order (names and places do
/// not matter), and of an adapter laid over the model. Reads all weights once.
[[nodiscard]] Json model_identity(const ModelSource& source, const Tokenizer& tokenizer);

/// SHA-256 of everything that a PEFT adapter says: values and configuration.
[[nodiscard]] std::string adapter_hash(const fs::path& adapter);

}  // namespace lancet
