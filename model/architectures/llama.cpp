// Llama. Touvron et al. 2023, arXiv:2302.13971 and 2307.09288; Llama 3: arXiv:2407.21783.
//   h = x + o_proj(attention(rope(q_proj n), rope(k_proj n), v_proj n)),  n = rms(x)
//   y = h + down_proj(silu(gate_proj m) * up_proj m),                     m = rms(h)
// Also what other families publish under this model_type: Code Llama, Yi, SmolLM2, Mistral shapes
// with their own head_dim. attention_bias puts a bias on q, k, v and o, mlp_bias on gate, up and
// down, as transformers has it; pretraining_tp only changes the order of a sum and is ignored.

#include <cmath>

#include "core/error.h"
#include "model/architecture.h"
#include "model/config_reader.h"

namespace lancet {
namespace {

NameSpec names() {
  NameSpec names;
  names.embed = "model.embed_tokens";
  names.final_norm = "model.norm";
  names.head = "lm_head";
  names.attn_norm = "model.layers.{}.input_layernorm";
  names.q = "model.layers.{}.self_attn.q_proj";
  names.k = "model.layers.{}.self_attn.k_proj";
  names.v = "model.layers.{}.self_attn.v_proj";
  names.o = "model.layers.{}.self_attn.o_proj";
  names.mlp_norm = "model.layers.{}.post_attention_layernorm";
  names.gate = "model.layers.{}.mlp.gate_proj";
  names.up = "model.layers.{}.mlp.up_proj";
  names.down = "model.layers.{}.mlp.down_proj";
  return names;
}

AttentionSpec describe_attention(const Json& config, std::int64_t d_model, std::int64_t layers) {
  AttentionSpec attention;
  attention.heads = read_size(config, "num_attention_heads", kMaxWidth);
  attention.kv_heads = read_size(config, "num_key_value_heads", kMaxWidth, attention.heads);
  if (attention.heads % attention.kv_heads != 0) {
    fail_config("num_key_value_heads", attention.kv_heads,
                "a divisor of num_attention_heads = " + std::to_string(attention.heads));
  }
  attention.d_head = read_size(config, "head_dim", kMaxWidth, d_model / attention.heads);
  if (attention.d_head < 2 || attention.d_head % 2 != 0) {
    fail_config("head_dim", attention.d_head, "an even number of at least 2");
  }
  attention.scale = 1 / std::sqrt(static_cast<double>(attention.d_head));
  attention.qkv_bias = attention.out_bias = read_flag(config, "attention_bias", false);
  attention.window.assign(static_cast<std::size_t>(layers), 0);
  return attention;
}

DecoderSpec describe(const Json& config) {
  if (const auto at = config.find("quantization_config"); at != config.end() && !at->is_null()) {
    fail_config("quantization_config", *at, "no quantisation");
  }
  DecoderSpec spec;
  spec.model_type = "llama";
  spec.layers = read_size(config, "num_hidden_layers", kMaxLayers);
  spec.d_model = read_size(config, "hidden_size", kMaxWidth);
  spec.vocab = read_size(config, "vocab_size", kMaxVocab);
  spec.max_positions = read_size(config, "max_position_embeddings", kMaxPositions, 2048);
  spec.tied_head = read_flag(config, "tie_word_embeddings", false);
  spec.norm.eps = read_number(config, "rms_norm_eps", 1e-6);
  spec.attention = describe_attention(config, spec.d_model, spec.layers);
  spec.rope = read_rope(config, spec.attention.d_head, spec.max_positions);
  spec.mlp.d_ff = read_size(config, "intermediate_size", kMaxWidth);
  spec.mlp.activation = read_activation(config, "hidden_act", "silu");
  spec.mlp.bias = read_flag(config, "mlp_bias", false);
  spec.names = names();
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
