// OLMo 1. Groeneveld et al. 2024, arXiv:2402.00838. Llama's block with layer norms that have
// neither weight nor bias (eps 1e-5); clip_qkv clamps q, k and v.

#include "model/llama_shape.h"

namespace lancet {
namespace {

DecoderSpec describe(const Json& config) {
  DecoderSpec spec = read_llama_shape(config, "olmo");
  spec.norm = {.kind = NormKind::kLayer, .eps = 1e-5, .weight = false, .bias = false};
  spec.attention.qkv_bias = spec.attention.out_bias = read_flag(config, "attention_bias", false);
  spec.attention.clip = read_number(config, "clip_qkv", 0);
  if (spec.attention.clip < 0) fail_config("clip_qkv", spec.attention.clip, "a number above 0");
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_olmo{
    .name = "olmo",
    .title = "OLMo 1B, 7B",
    .paper = "arXiv:2402.00838",
    .describe = describe,
};

}  // namespace lancet
