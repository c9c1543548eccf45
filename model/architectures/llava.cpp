// LLaVA 1.5. Liu et al. 2023, arXiv:2304.08485 and 2310.03744. A decoder (text_config; Vicuna, so a
// Llama, where it says nothing) behind a projector of image features: text runs as in the decoder
// alone.

#include "model/wrapped_shape.h"

namespace lancet {
namespace {

/// transformers writes no key of a text_config that has its family's default.
Json sizes(std::string_view model_type) {
  if (model_type == "llama") {
    return {{"hidden_size", 4096},
            {"intermediate_size", 11008},
            {"num_hidden_layers", 32},
            {"num_attention_heads", 32},
            {"vocab_size", 32000}};
  }
  if (model_type == "mistral") {
    return {{"hidden_size", 4096},      {"intermediate_size", 14336},
            {"num_hidden_layers", 32},  {"num_attention_heads", 32},
            {"num_key_value_heads", 8}, {"vocab_size", 32000},
            {"sliding_window", 4096},   {"max_position_embeddings", 131072}};
  }
  return Json::object();
}

DecoderSpec describe(const Json& config) {
  return read_wrapped_shape(config, "llava", {.fallback_type = "llama", .defaults = sizes});
}

}  // namespace

extern constinit const Architecture architecture_llava{
    .name = "llava",
    .title = "LLaVA 1.5, language part",
    .paper = "arXiv:2310.03744",
    .describe = describe,
};

}  // namespace lancet
