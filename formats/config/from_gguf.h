#pragma once
// The files of a Hugging Face directory, made from GGUF metadata.

#include <map>
#include <string>

#include "core/json.h"
#include "formats/checkpoint.h"
#include "formats/names/name_map.h"

namespace lancet {

/// Heads and what is turned of them. Errors as config_from_gguf.
struct GgufSizes {
  std::int64_t width = 0, heads = 0, kv_heads = 0, head_dim = 0, rotated = 0;
  std::int64_t values = 0;  ///< width of a head's values, of latent attention
};
[[nodiscard]] GgufSizes sizes_from_gguf(const Checkpoint& checkpoint, const NameFamily& family);

/// config.json of the family: sizes, rope (for every version of transformers), tied embeddings when
/// there is no output.weight, special ids, and the dtype that the weights have once written
/// (float32 for quantised ones). kInput for metadata that contradicts itself or the tensors,
/// kMismatch for what the family does not have.
[[nodiscard]] Json config_from_gguf(const Checkpoint& checkpoint, const NameFamily& family);

/// generation_config.json, tokenizer.json, tokenizer_config.json, special_tokens_map.json,
/// chat_template.jinja: those of them that the metadata has something for.
[[nodiscard]] std::map<std::string, std::string> side_files_from_gguf(const GgufHeader& header,
                                                                      const Json& config);

}  // namespace lancet
