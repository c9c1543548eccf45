// Granite 3. IBM 2024. Llama's block with multipliers: of the embedding, of what attention and MLP
// add to the stream, of scores (instead of 1 / sqrt(head_dim)); logits are divided by
// logits_scaling.

#include "model/llama_shape.h"

namespace lancet {
namespace {

DecoderSpec describe(const Json& config) {
  DecoderSpec spec = read_llama_shape(config, "granite");
  spec.embed_scale = read_number(config, "embedding_multiplier", 1);
  spec.residual_scale = read_number(config, "residual_multiplier", 1);
  spec.attention.scale = read_number(config, "attention_multiplier", 1);
  const double divisor = read_number(config, "logits_scaling", 1);
  if (divisor == 0) fail_config("logits_scaling", divisor, "a number other than 0");
  spec.logit_scale = 1 / divisor;
  spec.attention.qkv_bias = spec.attention.out_bias = read_flag(config, "attention_bias", false);
  spec.mlp.bias = read_flag(config, "mlp_bias", false);
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_granite{
    .name = "granite",
    .title = "Granite 3",
    .paper = "IBM 2024",
    .describe = describe,
};

}  // namespace lancet
