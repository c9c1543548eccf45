#pragma once
// A Hugging Face model as the tensors and metadata of a GGUF file.

#include <map>
#include <string>
#include <vector>

#include "formats/config/to_gguf.h"
#include "formats/containers/safetensors.h"

namespace lancet {

struct GgufModel {
  GgufMetadata metadata;
  std::vector<OutputTensor> tensors;
};

/// Renames and permutes; vectors become float32, matrices keep their dtype or, with
/// `quantize_q8_0`, become Q8_0 where rows fill whole blocks. kInput without config.json; kMismatch
/// for an architecture, tensor or tokenizer that has no GGUF form here.
[[nodiscard]] GgufModel make_gguf_model(std::vector<OutputTensor> tensors,
                                        const std::map<std::string, std::string>& side_files,
                                        bool quantize_q8_0);

}  // namespace lancet
