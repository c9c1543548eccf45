// Qwen2 and Qwen2.5. Yang et al. 2024, arXiv:2407.10671. Llama's block with biases on q, k and v
// but not on o; layers from max_window_layers on see sliding_window keys where use_sliding_window.

#include "model/llama_shape.h"

namespace lancet {
namespace {

DecoderSpec describe(const Json& config) {
  DecoderSpec spec = read_llama_shape(config, "qwen2", {.max_positions = 32768, .kv_heads = 32});
  spec.attention.qkv_bias = true;
  read_qwen_windows(config, spec);
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_qwen2{
    .name = "qwen2",
    .title = "Qwen2, Qwen2.5, QwQ",
    .paper = "arXiv:2407.10671",
    .describe = describe,
};

}  // namespace lancet
