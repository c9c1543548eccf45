// StarCoder2. Lozhkov et al. 2024, arXiv:2402.19173. Llama's names with layer norms, a plain GELU
// MLP, biases on every matrix (use_bias) and a window on every layer where one is given.

#include <vector>

#include "model/llama_shape.h"

namespace lancet {
namespace {

DecoderSpec describe(const Json& config) {
  DecoderSpec spec = read_llama_shape(config, "starcoder2",
                                      {.tied_head = true,
                                       .max_positions = 4096,
                                       .kv_heads = 2,
                                       .norm_eps = 1e-5,
                                       .norm_eps_key = "norm_epsilon",
                                       .activation = "gelu_pytorch_tanh"});
  spec.norm.kind = NormKind::kLayer;
  const bool bias = read_flag(config, "use_bias", true);
  spec.attention.qkv_bias = spec.attention.out_bias = spec.mlp.bias = bias;
  spec.mlp.gated = false;
  spec.names.mlp.up = "model.layers.{}.mlp.c_fc";
  spec.names.mlp.down = "model.layers.{}.mlp.c_proj";
  const std::int64_t window = read_optional_size(config, "sliding_window", kMaxPositions);
  set_windows(spec, std::vector<bool>(spec.layer.size(), true), window);
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_starcoder2{
    .name = "starcoder2",
    .title = "StarCoder2",
    .paper = "arXiv:2402.19173",
    .describe = describe,
};

}  // namespace lancet
