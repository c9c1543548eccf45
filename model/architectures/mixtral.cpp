// Mixtral. Jiang et al. 2024, arXiv:2401.04088. Mistral's attention; every MLP is a mixture:
// softmax over all experts, the best num_experts_per_tok of them, weights made to sum to 1.

#include <vector>

#include "model/llama_shape.h"

namespace lancet {
namespace {

DecoderSpec describe(const Json& config) {
  DecoderSpec spec = read_llama_shape(
      config, "mixtral",
      {.max_positions = 131072, .kv_heads = 8, .norm_eps = 1e-5, .rope = {.theta = 1e6}});
  const std::int64_t window = read_optional_size(config, "sliding_window", kMaxPositions);
  set_windows(spec, std::vector<bool>(spec.layer.size(), true), window);
  spec.moe = read_moe(config, {.experts = "num_local_experts", .d_ff = "intermediate_size"});
  spec.moe.normalize = true;
  for (LayerSpec& layer : spec.layer) layer.moe = true;
  spec.names.router = "model.layers.{}.block_sparse_moe.gate";
  spec.names.expert.gate = "model.layers.{}.block_sparse_moe.experts.{}.w1";
  spec.names.expert.up = "model.layers.{}.block_sparse_moe.experts.{}.w3";
  spec.names.expert.down = "model.layers.{}.block_sparse_moe.experts.{}.w2";
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_mixtral{
    .name = "mixtral",
    .title = "Mixtral 8x7B, 8x22B",
    .paper = "arXiv:2401.04088",
    .describe = describe,
};

}  // namespace lancet
