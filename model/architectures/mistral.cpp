// Mistral. Jiang et al. 2023, arXiv:2310.06825. Llama's block; where sliding_window is given, every
// query sees that many keys. Nemo: head_dim is not hidden_size / num_attention_heads.

#include <vector>

#include "model/llama_shape.h"

namespace lancet {
namespace {

DecoderSpec describe(const Json& config) {
  DecoderSpec spec = read_llama_shape(config, "mistral", {.max_positions = 131072, .kv_heads = 8});
  const std::int64_t window = read_window(config, 4096);
  set_windows(spec, std::vector<bool>(spec.layer.size(), true), window);
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_mistral{
    .name = "mistral",
    .title = "Mistral 7B, Nemo, Small",
    .paper = "arXiv:2310.06825",
    .describe = describe,
};

}  // namespace lancet
