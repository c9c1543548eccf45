// Gemma 2. Gemma Team 2024, arXiv:2408.00118. Gemma's block with norms before and behind attention
// and MLP, scores over sqrt(query_pre_attn_scalar) and softly capped, every second layer windowed
// (the first one is), logits softly capped.

#include <cmath>

#include "model/llama_shape.h"

namespace lancet {
namespace {

DecoderSpec describe(const Json& config) {
  DecoderSpec spec = read_llama_shape(config, "gemma2",
                                      {.tied_head = true,
                                       .max_positions = 8192,
                                       .d_head = 256,
                                       .kv_heads = 4,
                                       .activation_key = "hidden_activation",
                                       .activation = "gelu_pytorch_tanh"});
  spec.norm.weight_offset = 1;
  spec.norm.scale_before_cast = true;
  spec.embed_scale = std::sqrt(static_cast<double>(spec.d_model));
  spec.names.attn_post_norm = "model.layers.{}.post_attention_layernorm";
  spec.names.mlp_norm = "model.layers.{}.pre_feedforward_layernorm";
  spec.names.mlp_post_norm = "model.layers.{}.post_feedforward_layernorm";
  spec.attention.qkv_bias = spec.attention.out_bias = read_flag(config, "attention_bias", false);
  spec.attention.scale = 1 / std::sqrt(read_number(config, "query_pre_attn_scalar", 256));
  spec.attention.softcap = read_softcap(config, "attn_logit_softcapping", 50);
  spec.logit_softcap = read_softcap(config, "final_logit_softcapping", 30);
  expect_option(config, "use_bidirectional_attention", false);
  set_windows(spec,
              read_layer_types(config, spec.layers, "sliding_attention",
                               [](std::int64_t layer) { return layer % 2 == 0; }),
              read_size(config, "sliding_window", kMaxPositions, 4096));
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_gemma2{
    .name = "gemma2",
    .title = "Gemma 2",
    .paper = "arXiv:2408.00118",
    .describe = describe,
};

}  // namespace lancet
