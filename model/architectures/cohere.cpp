// Command R. Cohere 2024. Llama's matrices in a parallel block behind one layer norm without bias;
// RoPE in pairs (2i, 2i + 1); logits times logit_scale; use_qk_norm: a layer norm of q and k with a
// weight for each head.

#include "model/llama_shape.h"

namespace lancet {
namespace {

DecoderSpec describe(const Json& config) {
  DecoderSpec spec = read_llama_shape(config, "cohere",
                                      {.tied_head = true,
                                       .max_positions = 8192,
                                       .norm_eps = 1e-5,
                                       .norm_eps_key = "layer_norm_eps",
                                       .rope = {.theta = 500000}});
  spec.parallel = true;
  spec.norm.kind = NormKind::kLayer;
  spec.norm.bias = false;
  spec.names.mlp_norm = spec.names.attn_norm;
  spec.ropes[0].interleaved = true;
  spec.logit_scale = read_number(config, "logit_scale", 0.0625);
  spec.attention.qkv_bias = spec.attention.out_bias = read_flag(config, "attention_bias", false);
  if (read_flag(config, "use_qk_norm", false)) {
    spec.attention.qk_norm = QkNormWidth::kEachHead;
    spec.attention.qk_norm_spec = spec.norm;
    spec.names.q_norm = "model.layers.{}.self_attn.q_norm";
    spec.names.k_norm = "model.layers.{}.self_attn.k_norm";
  }
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_cohere{
    .name = "cohere",
    .title = "Command R, Command R+, Aya 23",
    .paper = "Cohere 2024",
    .describe = describe,
};

}  // namespace lancet
