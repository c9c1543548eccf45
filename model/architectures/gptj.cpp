// GPT-J. Wang and Komatsuzaki 2021. One layer norm for both halves of a parallel block; q, k, v and
// o without biases; the first rotary_dim dimensions of each head turn, in pairs (2i, 2i + 1); a
// head of its own with a bias.

#include "model/llama_shape.h"

namespace lancet {
namespace {

NameSpec names() {
  NameSpec names;
  names.embed = "transformer.wte";
  names.final_norm = "transformer.ln_f";
  names.head = "lm_head";
  names.attn_norm = names.mlp_norm = "transformer.h.{}.ln_1";
  names.q = "transformer.h.{}.attn.q_proj";
  names.k = "transformer.h.{}.attn.k_proj";
  names.v = "transformer.h.{}.attn.v_proj";
  names.o = "transformer.h.{}.attn.out_proj";
  names.mlp.up = "transformer.h.{}.mlp.fc_in";
  names.mlp.down = "transformer.h.{}.mlp.fc_out";
  return names;
}

DecoderSpec describe(const Json& config) {
  refuse_quantization(config);
  DecoderSpec spec;
  spec.model_type = "gptj";
  spec.layers = read_size(config, "n_layer", kMaxLayers, 28);
  spec.d_model = read_size(config, "n_embd", kMaxWidth, 4096);
  spec.vocab = read_size(config, "vocab_size", kMaxVocab, 50400);
  spec.max_positions = read_size(config, "n_positions", kMaxPositions, 2048);
  spec.tied_head = read_flag(config, "tie_word_embeddings", false);
  spec.head_bias = true;
  spec.parallel = true;
  spec.norm = {.kind = NormKind::kLayer, .eps = read_number(config, "layer_norm_epsilon", 1e-5)};
  const std::int64_t heads = read_size(config, "n_head", kMaxWidth, 16);
  spec.attention = make_attention(heads, heads, divided_head(spec.d_model, heads, "n_head"));
  const std::int64_t turned = read_size(config, "rotary_dim", spec.attention.d_head, 64);
  if (turned % 2 != 0) fail_config("rotary_dim", turned, "an even number");
  spec.ropes = {{.dims = turned, .interleaved = true}};
  spec.mlp.d_ff = read_size(config, "n_inner", kMaxWidth, 4 * spec.d_model);
  spec.mlp.activation = read_activation(config, "activation_function", "gelu_new");
  spec.mlp.gated = false;
  spec.mlp.bias = true;
  spec.layer.resize(static_cast<std::size_t>(spec.layers));
  spec.names = names();
  spec.ignored = {"transformer.h.{}.attn.bias", "transformer.h.{}.attn.masked_bias"};
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_gptj{
    .name = "gptj",
    .title = "GPT-J 6B",
    .paper = "Wang and Komatsuzaki 2021",
    .describe = describe,
};

}  // namespace lancet
