// Gemma 3, language part. Gemma Team 2025, arXiv:2503.19786. Gemma 2's block without its caps (of
// logits: kept where the config names it), RMS norms (1 + w) of q and k of each head, five windowed
// layers to a full one, and RoPE of their own for the windowed layers.

#include <cmath>

#include "model/llama_shape.h"

namespace lancet {
namespace {

DecoderSpec describe(const Json& config) {
  DecoderSpec spec = read_llama_shape(config, "gemma3_text",
                                      {.tied_head = true,
                                       .max_positions = 131072,
                                       .d_head = 256,
                                       .kv_heads = 4,
                                       .activation_key = "hidden_activation",
                                       .activation = "gelu_pytorch_tanh",
                                       .rope = {.theta = 1e6, .layer_type = "full_attention"}});
  spec.norm.weight_offset = 1;
  spec.norm.scale_before_cast = true;
  spec.embed_scale = std::sqrt(static_cast<double>(spec.d_model));
  spec.names.attn_post_norm = "model.layers.{}.post_attention_layernorm";
  spec.names.mlp_norm = "model.layers.{}.pre_feedforward_layernorm";
  spec.names.mlp_post_norm = "model.layers.{}.post_feedforward_layernorm";
  spec.names.q_norm = "model.layers.{}.self_attn.q_norm";
  spec.names.k_norm = "model.layers.{}.self_attn.k_norm";
  spec.attention.qk_norm = QkNormWidth::kHead;
  spec.attention.qk_norm_spec = spec.norm;
  spec.attention.qkv_bias = spec.attention.out_bias = read_flag(config, "attention_bias", false);
  spec.attention.scale = 1 / std::sqrt(read_number(config, "query_pre_attn_scalar", 256));
  expect_option(config, "attn_logit_softcapping", nullptr);  // the reference never applies it
  spec.logit_softcap = read_softcap(config, "final_logit_softcapping", 0);
  expect_option(config, "use_bidirectional_attention", false);
  spec.ropes.push_back(read_rope(
      config, spec.attention.d_head, spec.max_positions,
      {.theta_key = "rope_local_base_freq", .layer_type = "sliding_attention", .scaled = false}));
  const std::int64_t pattern = read_size(config, "sliding_window_pattern", kMaxLayers, 6);
  const auto sliding =
      read_layer_types(config, spec.layers, "sliding_attention",
                       [&](std::int64_t layer) { return (layer + 1) % pattern != 0; });
  set_windows(spec, sliding, read_size(config, "sliding_window", kMaxPositions, 4096));
  for (std::size_t i = 0; i < sliding.size(); ++i) spec.layer[i].rope = sliding[i] ? 1 : 0;
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_gemma3_text{
    .name = "gemma3_text",
    .title = "Gemma 3, language part",
    .paper = "arXiv:2503.19786",
    .describe = describe,
};

}  // namespace lancet
