// GLM-4 (0414). GLM Team 2024, arXiv:2406.12793. Llama's matrices with gate and up as one, biases
// on q, k and v, norms before and behind attention and MLP, and half of each head turning in pairs.

#include "model/llama_shape.h"

namespace lancet {
namespace {

DecoderSpec describe(const Json& config) {
  DecoderSpec spec = read_llama_shape(config, "glm4",
                                      {.max_positions = 131072,
                                       .d_head = 128,
                                       .kv_heads = 2,
                                       .norm_eps = 1.5625e-07,
                                       .rope = {.partial = 0.5}});
  spec.ropes[0].interleaved = true;
  spec.attention.qkv_bias = read_flag(config, "attention_bias", true);
  spec.names.mlp.gate_up = "model.layers.{}.mlp.gate_up_proj";
  spec.names.attn_post_norm = "model.layers.{}.post_self_attn_layernorm";
  spec.names.mlp_post_norm = "model.layers.{}.post_mlp_layernorm";
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_glm4{
    .name = "glm4",
    .title = "GLM-4 0414, GLM-Z1",
    .paper = "arXiv:2406.12793",
    .describe = describe,
};

}  // namespace lancet
