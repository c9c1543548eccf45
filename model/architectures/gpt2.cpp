// GPT-2. Radford et al. 2019, "Language Models are Unsupervised Multitask Learners".
// Pre-normed blocks with layer norms and biases everywhere, learned positions, q, k, v as one
// matrix. Matrices lie as [in, out] (Conv1D). Published files lack the prefix "transformer." and
// carry causal masks as buffers.

#include "model/llama_shape.h"

namespace lancet {
namespace {

NameSpec names() {
  NameSpec names;
  names.embed = "transformer.wte";
  names.positions = "transformer.wpe";
  names.final_norm = "transformer.ln_f";
  names.head = "lm_head";
  names.attn_norm = "transformer.h.{}.ln_1";
  names.qkv = "transformer.h.{}.attn.c_attn";
  names.o = "transformer.h.{}.attn.c_proj";
  names.mlp_norm = "transformer.h.{}.ln_2";
  names.mlp.up = "transformer.h.{}.mlp.c_fc";
  names.mlp.down = "transformer.h.{}.mlp.c_proj";
  return names;
}

DecoderSpec describe(const Json& config) {
  refuse_quantization(config);
  expect_option(config, "add_cross_attention", false);
  DecoderSpec spec;
  spec.model_type = "gpt2";
  spec.layers = read_size(config, "n_layer", kMaxLayers, 12);
  spec.d_model = read_size(config, "n_embd", kMaxWidth, 768);
  spec.vocab = read_size(config, "vocab_size", kMaxVocab, 50257);
  spec.max_positions = read_size(config, "n_positions", kMaxPositions, 1024);
  spec.tied_head = read_flag(config, "tie_word_embeddings", true);
  spec.norm = {.kind = NormKind::kLayer, .eps = read_number(config, "layer_norm_epsilon", 1e-5)};
  const std::int64_t heads = read_size(config, "n_head", kMaxWidth, 12);
  spec.attention = make_attention(heads, heads, divided_head(spec.d_model, heads, "n_head"));
  spec.attention.qkv = QkvLayout::kConcat;
  spec.attention.qkv_bias = spec.attention.out_bias = true;
  if (!read_flag(config, "scale_attn_weights", true)) spec.attention.scale = 1;
  spec.mlp.d_ff = read_size(config, "n_inner", kMaxWidth, 4 * spec.d_model);
  spec.mlp.activation = read_activation(config, "activation_function", "gelu_new");
  spec.mlp.gated = false;
  spec.mlp.bias = true;
  const bool inverse = read_flag(config, "scale_attn_by_inverse_layer_idx", false);
  for (std::int64_t i = 0; i < spec.layers; ++i) {
    spec.layer.push_back(
        {.rope = -1, .query_scale = inverse ? 1.0 / static_cast<double>(i + 1) : 1.0});
  }
  spec.names = names();
  spec.layout = MatrixLayout::kInOut;
  spec.respellings = {{{"transformer.", ""}}};
  spec.ignored = {"transformer.h.{}.attn.bias", "transformer.h.{}.attn.masked_bias"};
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_gpt2{
    .name = "gpt2",
    .title = "GPT-2, DistilGPT2",
    .paper = "Radford et al. 2019",
    .describe = describe,
};

}  // namespace lancet
