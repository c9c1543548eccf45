// BLOOM. BigScience 2022, arXiv:2211.05100. No positions but ALiBi (arXiv:2108.12409): head h adds
// slope_h * key position to its scores. Layer norm behind the embedding; biases everywhere; rows of
// query_key_value go head by head; apply_residual_connection_post_layernorm adds to the normed
// input instead of the stream.

#include <cstdint>

#include "model/alibi.h"
#include "model/llama_shape.h"

namespace lancet {
namespace {

NameSpec names() {
  NameSpec names;
  names.embed = "transformer.word_embeddings";
  names.embed_norm = "transformer.word_embeddings_layernorm";
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

DecoderSpec describe(const Json& config) {
  refuse_quantization(config);
  DecoderSpec spec;
  spec.model_type = "bloom";
  // Files of different ages spell these two ways.
  const auto size = [&](const char* key, const char* older, std::int64_t limit) {
    return read_size(config, config.contains(key) ? key : older, limit);
  };
  spec.layers = size("n_layer", "num_hidden_layers", kMaxLayers);
  spec.d_model = size("hidden_size", "n_embed", kMaxWidth);
  spec.vocab = read_size(config, "vocab_size", kMaxVocab, 250880);
  spec.max_positions = read_size(config, "seq_length", kMaxPositions, 2048);
  spec.tied_head = read_flag(config, "tie_word_embeddings", true);
  spec.norm = {.kind = NormKind::kLayer, .eps = read_number(config, "layer_norm_epsilon", 1e-5)};
  const std::int64_t heads = size("n_head", "num_attention_heads", kMaxWidth);
  spec.attention = make_attention(heads, heads, divided_head(spec.d_model, heads, "n_head"));
  spec.attention.qkv = QkvLayout::kGrouped;
  spec.attention.qkv_bias = spec.attention.out_bias = true;
  spec.attention.alibi = alibi_slopes(heads);
  spec.mlp.d_ff = 4 * spec.d_model;
  spec.mlp.activation = Activation::kGeluTanh;
  spec.mlp.gated = false;
  spec.mlp.bias = true;
  spec.normed_residual = read_flag(config, "apply_residual_connection_post_layernorm", false);
  spec.layer.assign(static_cast<std::size_t>(spec.layers), {.rope = -1});
  spec.names = names();
  spec.respellings = {{{"transformer.", ""}}};
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_bloom{
    .name = "bloom",
    .title = "BLOOM, BLOOMZ",
    .paper = "arXiv:2211.05100",
    .describe = describe,
};

}  // namespace lancet
