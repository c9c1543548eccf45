// Falcon. Almazrouei et al. 2023, arXiv:2311.16867. Layer norms, GELU. Three shapes:
//   7B: one key/value head (multi_query), parallel block behind one norm;
//   40B, 180B (new_decoder_architecture): grouped heads, parallel block behind ln_attn and ln_mlp,
//   or behind one norm (Falcon 2 11B, num_ln_in_parallel_attn 1); RW (alibi): serial block; slope *
//   position is rounded to bfloat16 and then scaled as scores are.

#include "model/alibi.h"
#include "model/llama_shape.h"

namespace lancet {
namespace {

NameSpec names() {
  NameSpec names;
  names.embed = "transformer.word_embeddings";
  names.final_norm = "transformer.ln_f";
  names.head = "lm_head";
  names.attn_norm = "transformer.h.{}.input_layernorm";
  names.qkv = "transformer.h.{}.self_attention.query_key_value";
  names.o = "transformer.h.{}.self_attention.dense";
  names.mlp_norm = "transformer.h.{}.post_attention_layernorm";
  names.mlp.up = "transformer.h.{}.mlp.dense_h_to_4h";
  names.mlp.down = "transformer.h.{}.mlp.dense_4h_to_h";
  return names;
}

AttentionSpec describe_attention(const Json& config, std::int64_t d_model, bool grouped) {
  const std::int64_t heads = read_size(config, "num_attention_heads", kMaxWidth);
  const bool one = !grouped && read_flag(config, "multi_query", true);
  const std::int64_t kv_heads = grouped ? read_size(config, "num_kv_heads", kMaxWidth, heads)
                                : one   ? 1
                                        : heads;
  AttentionSpec attention =
      make_attention(heads, kv_heads, divided_head(d_model, heads, "num_attention_heads"));
  attention.qkv = one ? QkvLayout::kConcat : QkvLayout::kGrouped;
  attention.qkv_bias = attention.out_bias = read_flag(config, "bias", false);
  if (read_flag(config, "alibi", false)) {
    attention.alibi = alibi_slopes(heads);
    attention.alibi_bfloat16 = true;
    attention.alibi_scale = attention.scale;
  }
  return attention;
}

void describe_norms(const Json& config, bool grouped, DecoderSpec& spec) {
  const bool parallel = read_flag(config, "parallel_attn", true);
  if (grouped && !parallel)
    fail_config("parallel_attn", false, "true beside new_decoder_architecture");
  spec.parallel = parallel;
  if (!parallel) return;
  const std::int64_t norms = grouped ? read_size(config, "num_ln_in_parallel_attn", 2, 2) : 1;
  if (norms == 1) {
    spec.names.mlp_norm = spec.names.attn_norm;
  } else {
    spec.names.attn_norm = "transformer.h.{}.ln_attn";
    spec.names.mlp_norm = "transformer.h.{}.ln_mlp";
  }
}

DecoderSpec describe(const Json& config) {
  refuse_quantization(config);
  DecoderSpec spec;
  spec.model_type = "falcon";
  spec.layers = read_size(config, "num_hidden_layers", kMaxLayers);
  spec.d_model = read_size(config, "hidden_size", kMaxWidth);
  spec.vocab = read_size(config, "vocab_size", kMaxVocab, 65024);
  spec.max_positions = read_size(config, "max_position_embeddings", kMaxPositions, 2048);
  spec.tied_head = read_flag(config, "tie_word_embeddings", true);
  spec.norm = {.kind = NormKind::kLayer, .eps = read_number(config, "layer_norm_epsilon", 1e-5)};
  const bool grouped = read_flag(config, "new_decoder_architecture", false);
  spec.attention = describe_attention(config, spec.d_model, grouped);
  spec.mlp.d_ff = read_size(config, "ffn_hidden_size", kMaxWidth, 4 * spec.d_model);
  spec.mlp.activation = read_activation(config, "activation", "gelu");
  spec.mlp.gated = false;
  spec.mlp.bias = spec.attention.out_bias;
  spec.names = names();
  describe_norms(config, grouped, spec);
  spec.layer.resize(static_cast<std::size_t>(spec.layers));
  if (spec.attention.alibi.empty()) {
    spec.ropes = {read_rope(config, spec.attention.d_head, spec.max_positions)};
  } else {
    for (LayerSpec& layer : spec.layer) layer.rope = -1;
  }
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_falcon{
    .name = "falcon",
    .title = "Falcon 7B, 40B, 180B, RW, Falcon 2",
    .paper = "arXiv:2311.16867",
    .describe = describe,
};

}  // namespace lancet
