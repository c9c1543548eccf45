// gpt-oss. OpenAI 2025, arXiv:2508.10925. Llama's block with biases on q, k, v and o, every other
// layer windowed, attention sinks, YaRN; every MLP is a mixture: softmax over the chosen logits,
// experts as stacked [in, out] tensors whose gate and up take turns, (up + 1) * clamped swish.
// MXFP4 files must be decoded first.

#include "model/llama_shape.h"

namespace lancet {
namespace {

DecoderSpec describe(const Json& config) {
  DecoderSpec spec = read_llama_shape(config, "gpt_oss",
                                      {.max_positions = 131072,
                                       .d_head = 64,
                                       .kv_heads = 8,
                                       .norm_eps = 1e-5,
                                       .rope = {.theta = 150000}});
  spec.norm.scale_before_cast = true;
  spec.attention.qkv_bias = spec.attention.out_bias = read_flag(config, "attention_bias", true);
  spec.attention.sinks = true;
  spec.names.sinks = "model.layers.{}.self_attn.sinks";
  expect_option(config, "hidden_act", "silu");
  expect_option(config, "swiglu_limit", 7.0);
  set_windows(spec,
              read_layer_types(config, spec.layers, "sliding_attention",
                               [](std::int64_t layer) { return layer % 2 == 0; }),
              read_size(config, "sliding_window", kMaxPositions, 128));
  spec.mlp.activation = Activation::kClampedSwiglu;
  spec.moe = read_moe(config, {.experts = "num_local_experts", .d_ff = "intermediate_size"});
  spec.moe.router = RouterKind::kSoftmaxOfChosen;
  spec.moe.router_bias = spec.moe.bias = true;
  spec.moe.layout = ExpertLayout::kStacked;
  spec.moe.matrix = MatrixLayout::kInOut;
  spec.moe.interleaved = true;
  for (LayerSpec& layer : spec.layer) layer.moe = true;
  spec.names.router = "model.layers.{}.mlp.router";
  spec.names.expert.gate_up = "model.layers.{}.mlp.experts.gate_up_proj";
  spec.names.expert.down = "model.layers.{}.mlp.experts.down_proj";
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_gpt_oss{
    .name = "gpt_oss",
    .title = "gpt-oss 20B, 120B",
    .paper = "arXiv:2508.10925",
    .describe = describe,
};

}  // namespace lancet
