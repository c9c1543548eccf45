// Qwen3 mixtures. Yang et al. 2025, arXiv:2505.09388. Qwen3's attention; layers as in qwen2_moe,
// without a shared expert.

#include <vector>

#include "model/llama_shape.h"

namespace lancet {
namespace {

DecoderSpec describe(const Json& config) {
  DecoderSpec spec = read_llama_shape(config, "qwen3_moe", {.max_positions = 32768, .kv_heads = 4});
  spec.attention.qkv_bias = spec.attention.out_bias = read_flag(config, "attention_bias", false);
  spec.attention.qk_norm = QkNormWidth::kHead;
  spec.attention.qk_norm_spec = spec.norm;
  spec.names.q_norm = "model.layers.{}.self_attn.q_norm";
  spec.names.k_norm = "model.layers.{}.self_attn.k_norm";
  const bool used = read_flag(config, "use_sliding_window", false);
  set_windows(spec, std::vector<bool>(spec.layer.size(), used),
              used ? read_window(config, 4096) : 0);
  spec.moe = read_moe(config, {.experts = "num_experts", .d_ff = "moe_intermediate_size"});
  spec.moe.normalize = read_flag(config, "norm_topk_prob", false);
  read_qwen_mixtures(config, spec);
  spec.names.router = "model.layers.{}.mlp.gate";
  spec.names.expert.gate = "model.layers.{}.mlp.experts.{}.gate_proj";
  spec.names.expert.up = "model.layers.{}.mlp.experts.{}.up_proj";
  spec.names.expert.down = "model.layers.{}.mlp.experts.{}.down_proj";
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_qwen3_moe{
    .name = "qwen3_moe",
    .title = "Qwen3 30B-A3B, 235B-A22B",
    .paper = "arXiv:2505.09388",
    .describe = describe,
};

}  // namespace lancet
