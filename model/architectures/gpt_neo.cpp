// GPT-Neo. Black et al. 2021. GPT-2's block with separate q, k, v (no biases) as [out, in]; scores
// are not scaled; layers called "local" see window_size keys.

#include <string>
#include <vector>

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
  names.q = "transformer.h.{}.attn.attention.q_proj";
  names.k = "transformer.h.{}.attn.attention.k_proj";
  names.v = "transformer.h.{}.attn.attention.v_proj";
  names.o = "transformer.h.{}.attn.attention.out_proj";
  names.mlp_norm = "transformer.h.{}.ln_2";
  names.mlp.up = "transformer.h.{}.mlp.c_fc";
  names.mlp.down = "transformer.h.{}.mlp.c_proj";
  return names;
}

/// attention_types: [[[kind, ...], times], ...], unrolled; true for "local".
std::vector<bool> local_layers(const Json& config, std::int64_t layers) {
  const Json types = config.value("attention_types", Json::parse(R"([[["global","local"],12]])"));
  std::vector<bool> out;
  const auto bad = [&] {
    fail_config("attention_types", types,
                "kinds global and local for " + std::to_string(layers) + " layers");
  };
  if (!types.is_array()) bad();
  for (const Json& part : types) {
    if (!part.is_array() || part.size() != 2 || !part[0].is_array() || part[0].empty() ||
        !part[1].is_number_unsigned() || part[1] > layers) {
      bad();
    }
    for (std::int64_t i = 0; i < part[1].get<std::int64_t>(); ++i) {
      for (const Json& kind : part[0]) {
        if (kind != "global" && kind != "local") bad();
        out.push_back(kind == "local");
      }
    }
  }
  if (std::cmp_not_equal(out.size(), layers)) bad();
  return out;
}

DecoderSpec describe(const Json& config) {
  refuse_quantization(config);
  DecoderSpec spec;
  spec.model_type = "gpt_neo";
  spec.layers = read_size(config, "num_layers", kMaxLayers, 24);
  spec.d_model = read_size(config, "hidden_size", kMaxWidth, 2048);
  spec.vocab = read_size(config, "vocab_size", kMaxVocab, 50257);
  spec.max_positions = read_size(config, "max_position_embeddings", kMaxPositions, 2048);
  spec.tied_head = read_flag(config, "tie_word_embeddings", true);
  spec.norm = {.kind = NormKind::kLayer, .eps = read_number(config, "layer_norm_epsilon", 1e-5)};
  const std::int64_t heads = read_size(config, "num_heads", kMaxWidth, 16);
  spec.attention = make_attention(heads, heads, divided_head(spec.d_model, heads, "num_heads"));
  spec.attention.scale = 1;
  spec.attention.out_bias = true;
  spec.mlp.d_ff = read_size(config, "intermediate_size", kMaxWidth, 4 * spec.d_model);
  spec.mlp.activation = read_activation(config, "activation_function", "gelu_new");
  spec.mlp.gated = false;
  spec.mlp.bias = true;
  spec.layer.assign(static_cast<std::size_t>(spec.layers), {.rope = -1});
  set_windows(spec, local_layers(config, spec.layers),
              read_size(config, "window_size", kMaxPositions, 256));
  spec.names = names();
  spec.ignored = {"transformer.h.{}.attn.attention.bias",
                  "transformer.h.{}.attn.attention.masked_bias"};
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_gpt_neo{
    .name = "gpt_neo",
    .title = "GPT-Neo 125M to 2.7B",
    .paper = "Black et al. 2021",
    .describe = describe,
};

}  // namespace lancet
