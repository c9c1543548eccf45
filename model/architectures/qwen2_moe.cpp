// Qwen1.5-MoE and Qwen2-MoE. Yang et al. 2024, arXiv:2407.10671. Qwen2's attention; every
// decoder_sparse_step-th layer but mlp_only_layers is a mixture (softmax over all experts, weights
// as they are unless norm_topk_prob) beside a shared expert times sigmoid of its own gate.

#include "model/llama_shape.h"

namespace lancet {
namespace {

DecoderSpec describe(const Json& config) {
  DecoderSpec spec =
      read_llama_shape(config, "qwen2_moe", {.max_positions = 32768, .kv_heads = 16});
  spec.attention.qkv_bias = read_flag(config, "qkv_bias", true);
  const std::int64_t window = read_used_window(config, 4096);
  const std::int64_t below = read_count(config, "max_window_layers", kMaxLayers, 28);
  set_windows(spec,
              read_layer_types(config, spec.layers, "sliding_attention",
                               [&](std::int64_t layer) { return layer % 2 == 0 && layer < below; }),
              window);
  spec.moe = read_moe(config, {.experts = "num_experts", .d_ff = "moe_intermediate_size"});
  spec.moe.normalize = read_flag(config, "norm_topk_prob", false);
  spec.moe.shared_d_ff = read_size(config, "shared_expert_intermediate_size", kMaxWidth, 5632);
  spec.moe.shared_gate = true;
  read_qwen_mixtures(config, spec);
  spec.names.router = "model.layers.{}.mlp.gate";
  spec.names.expert.gate = "model.layers.{}.mlp.experts.{}.gate_proj";
  spec.names.expert.up = "model.layers.{}.mlp.experts.{}.up_proj";
  spec.names.expert.down = "model.layers.{}.mlp.experts.{}.down_proj";
  spec.names.shared.gate = "model.layers.{}.mlp.shared_expert.gate_proj";
  spec.names.shared.up = "model.layers.{}.mlp.shared_expert.up_proj";
  spec.names.shared.down = "model.layers.{}.mlp.shared_expert.down_proj";
  spec.names.shared_gate = "model.layers.{}.mlp.shared_expert_gate";
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_qwen2_moe{
    .name = "qwen2_moe",
    .title = "Qwen1.5-MoE, Qwen2-57B-A14B",
    .paper = "arXiv:2407.10671",
    .describe = describe,
};

}  // namespace lancet
