// OLMo 2. OLMo Team 2024, arXiv:2501.00656. Norms only behind attention and MLP, before the sums:
//   h = x + rms(attention(x)),  y = h + rms(mlp(h)),
// and an RMS norm over all heads of q, and of k, at once. Norm weights multiply in float32.

#include "model/llama_shape.h"

namespace lancet {
namespace {

DecoderSpec describe(const Json& config) {
  DecoderSpec spec = read_llama_shape(config, "olmo2", {.norm_eps = 1e-5});
  spec.norm.scale_before_cast = true;
  spec.attention.qkv_bias = spec.attention.out_bias = read_flag(config, "attention_bias", false);
  spec.attention.qk_norm = QkNormWidth::kFull;
  spec.attention.qk_norm_spec = spec.norm;
  NameSpec& names = spec.names;
  names.attn_norm = names.mlp_norm = "";
  names.attn_post_norm = "model.layers.{}.post_attention_layernorm";
  names.mlp_post_norm = "model.layers.{}.post_feedforward_layernorm";
  names.q_norm = "model.layers.{}.self_attn.q_norm";
  names.k_norm = "model.layers.{}.self_attn.k_norm";
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_olmo2{
    .name = "olmo2",
    .title = "OLMo 2",
    .paper = "arXiv:2501.00656",
    .describe = describe,
};

}  // namespace lancet
