// Phi-3 and Phi-4. Abdin et al. 2024, arXiv:2404.14219. Llama's block with q, k, v as one matrix
// and gate, up as one; LongRoPE, which may turn only part of each head; a window where one is
// given.

#include <string>
#include <vector>

#include "model/llama_shape.h"

namespace lancet {
namespace {

/// "yarn" in this family's files means longrope.
Json with_longrope(Json config) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const auto at = config.find(key);
    if (at == config.end() || !at->is_object()) continue;
    for (const char* type : {"type", "rope_type"}) {
      if (at->contains(type) && (*at)[type] == "yarn") (*at)[type] = "longrope";
    }
  }
  return config;
}

DecoderSpec describe(const Json& config) {
  DecoderSpec spec =
      read_llama_shape(with_longrope(config), "phi3",
                       {.max_positions = 4096, .norm_eps = 1e-5, .rope = {.partial = 1}});
  spec.attention.qkv = QkvLayout::kConcat;
  spec.names.qkv = "model.layers.{}.self_attn.qkv_proj";
  spec.names.mlp.gate_up = "model.layers.{}.mlp.gate_up_proj";
  const std::int64_t window = read_optional_size(config, "sliding_window", kMaxPositions);
  set_windows(spec, std::vector<bool>(spec.layer.size(), true), window);
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_phi3{
    .name = "phi3",
    .title = "Phi-3, Phi-3.5 mini, Phi-4",
    .paper = "arXiv:2404.14219",
    .describe = describe,
};

}  // namespace lancet
