#pragma once
// GGUF metadata, as llama.cpp reads it, from the files of a Hugging Face directory.

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/json.h"
#include "formats/config/rope_scaling.h"
#include "formats/containers/gguf.h"
#include "formats/names/name_map.h"

namespace lancet {

using GgufMetadata = std::vector<std::pair<std::string, GgufValue>>;

/// Sizes of the decoder that the writer needs besides the metadata.
struct DecoderSizes {
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t rotated = 0;  ///< dimensions of a head that RoPE turns
  std::int64_t vocab = 0;
  bool tied = false;
  RopeSettings rope;
};

/// Reads what config_for_gguf() returns; kMismatch for what GGUF's `family` cannot say (another
/// activation, another rotation).
[[nodiscard]] DecoderSizes decoder_sizes(const Json& config, const NameFamily& family);

/// general.* and hyper-parameters, of the same. `file_type`: llama.cpp's number for the main dtype.
[[nodiscard]] GgufMetadata metadata_from_config(const Json& config, const NameFamily& family,
                                                std::uint32_t file_type);

/// tokenizer.ggml.* and the chat templates from the tokenizer's files, tokenizer_config.json,
/// generation_config.json; tokenizer.ggml.model = "none", with a warning, when there is no
/// tokenizer. `vocab`: rows of the embedding. kMismatch for a tokenizer that llama.cpp has no `pre`
/// for, or that only vocab.json or vocab.txt tell.
void append_tokenizer(const std::map<std::string, std::string>& side_files, const Json& config,
                      std::int64_t vocab, GgufMetadata& metadata);

[[nodiscard]] GgufValue gguf_string(std::string value);
[[nodiscard]] GgufValue gguf_u32(std::int64_t value);
[[nodiscard]] GgufValue gguf_f32(double value);
[[nodiscard]] GgufValue gguf_bool(bool value);

}  // namespace lancet
