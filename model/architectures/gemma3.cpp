// Gemma 3 with its vision tower. Gemma Team 2025, arXiv:2503.19786. Text runs as in gemma3_text;
// the tokens of an image would see each other, which text never asks for.

#include "model/wrapped_shape.h"

namespace lancet {
namespace {

/// transformers writes no key of a text_config that has its family's default.
Json sizes(std::string_view model_type) {
  if (model_type != "gemma3_text") return Json::object();
  return {{"hidden_size", 2304},      {"intermediate_size", 9216}, {"num_hidden_layers", 26},
          {"num_attention_heads", 8}, {"num_key_value_heads", 4},  {"vocab_size", 262208}};
}

DecoderSpec describe(const Json& config) {
  return read_wrapped_shape(config, "gemma3",
                            {.fallback_type = "gemma3_text", .defaults = sizes, .tied_head = true});
}

}  // namespace

extern constinit const Architecture architecture_gemma3{
    .name = "gemma3",
    .title = "Gemma 3 4B, 12B, 27B, language part",
    .paper = "arXiv:2503.19786",
    .describe = describe,
};

}  // namespace lancet
