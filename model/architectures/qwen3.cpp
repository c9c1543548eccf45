// Qwen3. Yang et al. 2025, arXiv:2505.09388. Llama's block; q and k of each head pass an RMS norm
// [head_dim] before RoPE; head_dim is its own number; biases only where attention_bias says so.

#include "model/llama_shape.h"

namespace lancet {
namespace {

DecoderSpec describe(const Json& config) {
  DecoderSpec spec =
      read_llama_shape(config, "qwen3", {.max_positions = 32768, .d_head = 128, .kv_heads = 32});
  spec.attention.qkv_bias = spec.attention.out_bias = read_flag(config, "attention_bias", false);
  spec.attention.qk_norm = QkNormWidth::kHead;
  spec.attention.qk_norm_spec = spec.norm;
  spec.names.q_norm = "model.layers.{}.self_attn.q_norm";
  spec.names.k_norm = "model.layers.{}.self_attn.k_norm";
  read_qwen_windows(config, spec);
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_qwen3{
    .name = "qwen3",
    .title = "Qwen3 dense",
    .paper = "arXiv:2505.09388",
    .describe = describe,
};

}  // namespace lancet
