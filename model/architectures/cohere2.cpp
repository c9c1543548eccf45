// Command R7B and A. Cohere 2025, arXiv:2504.00698. Command R's block; three windowed layers with
// RoPE to a full one without positions.

#include "model/llama_shape.h"

namespace lancet {
namespace {

DecoderSpec describe(const Json& config) {
  DecoderSpec spec = read_llama_shape(config, "cohere2",
                                      {.tied_head = true,
                                       .max_positions = 8192,
                                       .norm_eps = 1e-5,
                                       .norm_eps_key = "layer_norm_eps"});
  spec.parallel = true;
  spec.norm.kind = NormKind::kLayer;
  spec.norm.bias = false;
  spec.names.mlp_norm = spec.names.attn_norm;
  spec.ropes[0].interleaved = true;
  spec.logit_scale = read_number(config, "logit_scale", 0.0625);
  spec.attention.qkv_bias = spec.attention.out_bias = read_flag(config, "attention_bias", false);
  const std::int64_t pattern = read_size(config, "sliding_window_pattern", kMaxLayers, 4);
  const auto sliding =
      read_layer_types(config, spec.layers, "sliding_attention",
                       [&](std::int64_t layer) { return (layer + 1) % pattern != 0; });
  set_windows(spec, sliding, read_size(config, "sliding_window", kMaxPositions, 4096));
  for (std::size_t i = 0; i < sliding.size(); ++i) spec.layer[i].rope = sliding[i] ? 0 : -1;
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_cohere2{
    .name = "cohere2",
    .title = "Command R7B, Command A",
    .paper = "arXiv:2504.00698",
    .describe = describe,
};

}  // namespace lancet
