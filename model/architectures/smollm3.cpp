// SmolLM3. Hugging Face 2025. Llama's block; layers without RoPE (arXiv:2501.18795): those that
// no_rope_layers marks with 0, by default every no_rope_layer_interval-th.

#include "model/llama_shape.h"

namespace lancet {
namespace {

DecoderSpec describe(const Json& config) {
  DecoderSpec spec = read_llama_shape(
      config, "smollm3",
      {.tied_head = true, .max_positions = 32768, .kv_heads = 4, .rope = {.theta = 2e6}});
  spec.attention.qkv_bias = spec.attention.out_bias = read_flag(config, "attention_bias", false);
  spec.mlp.bias = read_flag(config, "mlp_bias", false);
  const std::int64_t interval = read_size(config, "no_rope_layer_interval", kMaxLayers, 4);
  const auto turned =
      read_layer_flags(config, "no_rope_layers", spec.layers,
                       [&](std::int64_t layer) { return (layer + 1) % interval != 0; });
  for (std::size_t i = 0; i < turned.size(); ++i) spec.layer[i].rope = turned[i] ? 0 : -1;
  const std::int64_t window = read_used_window(config, 0);
  set_windows(spec,
              read_layer_types(config, spec.layers, "sliding_attention",
                               [&](std::int64_t layer) {
                                 return window > 0 && !turned[static_cast<std::size_t>(layer)];
                               }),
              window);
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_smollm3{
    .name = "smollm3",
    .title = "SmolLM3",
    .paper = "Hugging Face 2025",
    .describe = describe,
};

}  // namespace lancet
