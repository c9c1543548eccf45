// Phi-1, Phi-1.5 and Phi-2. Li et al. 2023, arXiv:2309.05463. One layer norm n = ln(x) for both
// halves of a parallel block, y = x + attention(n) + mlp(n); part of each head turns; every matrix
// and the head have a bias; qk_layernorm puts a layer norm on q and k of each head.

#include "model/llama_shape.h"

namespace lancet {
namespace {

DecoderSpec describe(const Json& config) {
  DecoderSpec spec = read_llama_shape(config, "phi",
                                      {.norm_eps = 1e-5,
                                       .norm_eps_key = "layer_norm_eps",
                                       .activation = "gelu_new",
                                       .rope = {.partial = 0.5}});
  spec.parallel = true;
  spec.norm.kind = NormKind::kLayer;
  spec.head_bias = true;
  spec.attention.qkv_bias = spec.attention.out_bias = true;
  spec.mlp.gated = false;
  spec.mlp.bias = true;
  NameSpec& names = spec.names;
  names.final_norm = "model.final_layernorm";
  names.mlp_norm = names.attn_norm;
  names.o = "model.layers.{}.self_attn.dense";
  names.mlp.up = "model.layers.{}.mlp.fc1";
  names.mlp.down = "model.layers.{}.mlp.fc2";
  if (read_flag(config, "qk_layernorm", false)) {
    spec.attention.qk_norm = QkNormWidth::kHead;
    spec.attention.qk_norm_spec = spec.norm;
    names.q_norm = "model.layers.{}.self_attn.q_layernorm";
    names.k_norm = "model.layers.{}.self_attn.k_layernorm";
  }
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_phi{
    .name = "phi",
    .title = "Phi-1, Phi-1.5, Phi-2",
    .paper = "arXiv:2309.05463",
    .describe = describe,
};

}  // namespace lancet
