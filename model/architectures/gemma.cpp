// Gemma. Gemma Team 2024, arXiv:2403.08295. Llama's block with RMS norms that multiply by (1 + w)
// in float32, a GELU gate, and embeddings times sqrt(d_model).

#include <cmath>

#include "model/llama_shape.h"

namespace lancet {
namespace {

DecoderSpec describe(const Json& config) {
  // hidden_act of old files says "gelu" and means the tanh form; releases of transformers differ on
  // whether they mind what else it says.
  if (config.value("hidden_activation", Json()).is_null() &&
      read_activation(config, "hidden_act", "gelu") != Activation::kGelu &&
      read_activation(config, "hidden_act", "gelu") != Activation::kGeluTanh)
    fail_config("hidden_act", config["hidden_act"], "gelu or gelu_pytorch_tanh");
  DecoderSpec spec = read_llama_shape(config, "gemma",
                                      {.tied_head = true,
                                       .max_positions = 8192,
                                       .d_head = 256,
                                       .kv_heads = 16,
                                       .activation_key = "hidden_activation",
                                       .activation = "gelu_pytorch_tanh"});
  spec.norm.weight_offset = 1;
  spec.norm.scale_before_cast = true;
  spec.embed_scale = std::sqrt(static_cast<double>(spec.d_model));
  spec.attention.qkv_bias = spec.attention.out_bias = read_flag(config, "attention_bias", false);
  expect_option(config, "use_bidirectional_attention", false);
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_gemma{
    .name = "gemma",
    .title = "Gemma 1, CodeGemma",
    .paper = "arXiv:2403.08295",
    .describe = describe,
};

}  // namespace lancet
