// Llama. Touvron et al. 2023, arXiv:2302.13971 and 2307.09288; Llama 3: arXiv:2407.21783.
//   h = x + o_proj(attention(rope(q_proj n), rope(k_proj n), v_proj n)),  n = rms(x)
//   y = h + down_proj(silu(gate_proj m) * up_proj m),                     m = rms(h)
// Also what other families publish under this model_type: Code Llama, Yi, SmolLM2, Mistral shapes
// with their own head_dim. attention_bias puts a bias on q, k, v and o, mlp_bias on gate, up and
// down, as transformers has it; pretraining_tp only changes the order of a sum and is ignored.

#include "model/llama_shape.h"

namespace lancet {
namespace {

DecoderSpec describe(const Json& config) {
  DecoderSpec spec = read_llama_shape(config, "llama");
  spec.attention.qkv_bias = spec.attention.out_bias = read_flag(config, "attention_bias", false);
  spec.mlp.bias = read_flag(config, "mlp_bias", false);
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_llama{
    .name = "llama",
    .title = "Llama 1 to 3.3, Code Llama, Yi, SmolLM2",
    .paper = "arXiv:2302.13971",
    .describe = describe,
};

}  // namespace lancet
