// GPT-NeoX and Pythia. Black et al. 2022, arXiv:2204.06745; Biderman et al. 2023, arXiv:2304.01373.
// Layer norms and biases; y = x + attention(ln1 x) + mlp(ln2 x) where use_parallel_residual, else
// one after the other; rows of query_key_value go head by head (q, k, v of each); part of each head
// turns.

#include "model/llama_shape.h"

namespace lancet {
namespace {

NameSpec names() {
  NameSpec names;
  names.embed = "gpt_neox.embed_in";
  names.final_norm = "gpt_neox.final_layer_norm";
  names.head = "embed_out";
  names.attn_norm = "gpt_neox.layers.{}.input_layernorm";
  names.qkv = "gpt_neox.layers.{}.attention.query_key_value";
  names.o = "gpt_neox.layers.{}.attention.dense";
  names.mlp_norm = "gpt_neox.layers.{}.post_attention_layernorm";
  names.mlp.up = "gpt_neox.layers.{}.mlp.dense_h_to_4h";
  names.mlp.down = "gpt_neox.layers.{}.mlp.dense_4h_to_h";
  return names;
}

DecoderSpec describe(const Json& config) {
  RopeDefaults rope{.partial = 0.25, .partial_key = "rotary_pct"};
  if (config.contains("rotary_emb_base")) rope.theta_key = "rotary_emb_base";
  DecoderSpec spec = read_llama_shape(
      config, "gpt_neox",
      {.norm_eps = 1e-5, .norm_eps_key = "layer_norm_eps", .activation = "gelu", .rope = rope});
  if (spec.attention.kv_heads != spec.attention.heads)
    fail_config("num_key_value_heads", spec.attention.kv_heads, "as many as attention heads");
  spec.parallel = read_flag(config, "use_parallel_residual", true);
  spec.norm.kind = NormKind::kLayer;
  spec.attention.qkv = QkvLayout::kGrouped;
  spec.attention.qkv_bias = spec.attention.out_bias = read_flag(config, "attention_bias", true);
  spec.mlp.gated = false;
  spec.mlp.bias = true;
  spec.names = names();
  spec.ignored = {"gpt_neox.layers.{}.attention.bias", "gpt_neox.layers.{}.attention.masked_bias"};
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_gpt_neox{
    .name = "gpt_neox",
    .title = "GPT-NeoX 20B, Pythia, RedPajama-INCITE",
    .paper = "arXiv:2204.06745",
    .describe = describe,
};

}  // namespace lancet
