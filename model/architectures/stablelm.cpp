// StableLM 2 and 3B. Bellagente et al. 2024, arXiv:2402.17834. Llama's block with layer norms, part
// of each head turning, biases on q, k, v where use_qkv_bias; qk_layernorm: a layer norm without
// bias for each head of q and k; use_parallel_residual: one norm for both halves of a parallel
// block.

#include "model/llama_shape.h"

namespace lancet {
namespace {

DecoderSpec describe(const Json& config) {
  DecoderSpec spec = read_llama_shape(config, "stablelm",
                                      {.max_positions = 4096,
                                       .kv_heads = 32,
                                       .norm_eps = 1e-5,
                                       .norm_eps_key = "layer_norm_eps",
                                       .rope = {.partial = 0.25}});
  spec.norm.kind = NormKind::kLayer;
  spec.attention.qkv_bias = read_flag(config, "use_qkv_bias", false);
  if (read_flag(config, "qk_layernorm", false)) {
    spec.attention.qk_norm = QkNormWidth::kEachHead;
    spec.attention.qk_norm_spec = spec.norm;
    spec.attention.qk_norm_spec.bias = false;
    spec.names.q_norm = "model.layers.{}.self_attn.q_layernorm.norms.{}";
    spec.names.k_norm = "model.layers.{}.self_attn.k_layernorm.norms.{}";
  }
  spec.parallel = read_flag(config, "use_parallel_residual", false);
  if (spec.parallel) spec.names.mlp_norm = spec.names.attn_norm;
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_stablelm{
    .name = "stablelm",
    .title = "StableLM 2, StableLM 3B and Zephyr",
    .paper = "arXiv:2402.17834",
    .describe = describe,
};

}  // namespace lancet
