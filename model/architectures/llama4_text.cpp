// Llama 4, language part. Meta 2025. Llama's matrices; RoPE in pairs on most layers, which see keys
// of their own chunk only, and q and k of each head pass an RMS norm without weight there (it
// stands behind RoPE in the reference, which turns vectors and keeps their length). Layers without
// RoPE see everything and scale their queries by position. Every interleave_moe_layer_step-th MLP
// is a mixture: the inputs of the chosen experts are weighed by sigmoid of their logits, beside a
// shared expert.

#include <vector>

#include "model/llama_shape.h"

namespace lancet {
namespace {

void describe_layers(const Json& config, DecoderSpec& spec) {
  const std::int64_t interval = read_size(config, "no_rope_layer_interval", kMaxLayers, 4);
  // An empty list means the default, too.
  const auto list = config.find("no_rope_layers");
  const bool listed = list != config.end() && list->is_array() && !list->empty();
  const auto turned =
      read_layer_flags(listed ? config : Json::object(), "no_rope_layers", spec.layers,
                       [&](std::int64_t layer) { return (layer + 1) % interval != 0; });
  const auto chunked =
      read_layer_types(config, spec.layers, "chunked_attention",
                       [&](std::int64_t layer) { return turned[static_cast<std::size_t>(layer)]; });
  const std::int64_t chunk = read_optional_size(config, "attention_chunk_size", kMaxPositions);
  const std::int64_t step = read_size(config, "interleave_moe_layer_step", kMaxLayers, 1);
  auto mixture = read_named_layers(config, "moe_layers", spec.layers);
  for (std::size_t i = 0; i < turned.size(); ++i) {
    if (!config.contains("moe_layers") || config["moe_layers"].is_null())
      mixture[i] = (static_cast<std::int64_t>(i) + 1) % step == 0;
    spec.layer[i].rope = turned[i] ? 0 : -1;
    spec.layer[i].qk_norm = turned[i];
    spec.layer[i].chunk = chunked[i] ? chunk : 0;
    spec.layer[i].moe = mixture[i];
  }
}

void describe_mixture(const Json& config, DecoderSpec& spec) {
  spec.moe = read_moe(config, {.experts = "num_local_experts", .d_ff = "intermediate_size"});
  spec.moe.router = RouterKind::kSigmoid;
  spec.moe.weigh_input = true;
  spec.moe.shared_d_ff = spec.moe.d_ff;
  spec.moe.layout = ExpertLayout::kStacked;
  spec.moe.matrix = MatrixLayout::kInOut;
  NameSpec& names = spec.names;
  names.router = "model.layers.{}.feed_forward.router";
  names.expert.gate_up = "model.layers.{}.feed_forward.experts.gate_up_proj";
  names.expert.down = "model.layers.{}.feed_forward.experts.down_proj";
  names.shared.gate = "model.layers.{}.feed_forward.shared_expert.gate_proj";
  names.shared.up = "model.layers.{}.feed_forward.shared_expert.up_proj";
  names.shared.down = "model.layers.{}.feed_forward.shared_expert.down_proj";
  names.mlp.gate = "model.layers.{}.feed_forward.gate_proj";
  names.mlp.up = "model.layers.{}.feed_forward.up_proj";
  names.mlp.down = "model.layers.{}.feed_forward.down_proj";
}

DecoderSpec describe(const Json& config) {
  DecoderSpec spec = read_llama_shape(config, "llama4_text",
                                      {.max_positions = 131072,
                                       .d_head = 128,
                                       .kv_heads = 8,
                                       .norm_eps = 1e-5,
                                       .d_ff_key = "intermediate_size_mlp",
                                       .rope = {.theta = 500000}});
  spec.ropes[0].interleaved = true;
  AttentionSpec& attention = spec.attention;
  attention.qkv_bias = attention.out_bias = read_flag(config, "attention_bias", false);
  if (read_flag(config, "use_qk_norm", true)) {
    attention.qk_norm = QkNormWidth::kHead;
    attention.qk_norm_spec = {.eps = spec.norm.eps, .weight = false};
  }
  if (read_flag(config, "attn_temperature_tuning", true)) {
    attention.temperature_floor = read_number(config, "floor_scale", 8192);
    attention.temperature_scale = read_number(config, "attn_scale", 0.1);
    if (!(attention.temperature_floor > 0))
      fail_config("floor_scale", attention.temperature_floor, "a number above 0");
  }
  describe_mixture(config, spec);
  describe_layers(config, spec);
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_llama4_text{
    .name = "llama4_text",
    .title = "Llama 4 Scout and Maverick, language part",
    .paper = "Meta 2025",
    .describe = describe,
};

}  // namespace lancet
