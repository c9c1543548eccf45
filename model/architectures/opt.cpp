// OPT. Zhang et al. 2022, arXiv:2205.01068. Layer norms, ReLU, learned positions whose first two
// rows stand for nothing. The 350M model differs: norms stand behind the residual sums
// (do_layer_norm_before false), and embeddings are narrower than the stream (word_embed_proj_dim).

#include <string>

#include "model/llama_shape.h"

namespace lancet {
namespace {

NameSpec names(bool norm_before) {
  NameSpec names;
  names.embed = "model.decoder.embed_tokens";
  names.positions = "model.decoder.embed_positions";
  names.head = "lm_head";
  names.q = "model.decoder.layers.{}.self_attn.q_proj";
  names.k = "model.decoder.layers.{}.self_attn.k_proj";
  names.v = "model.decoder.layers.{}.self_attn.v_proj";
  names.o = "model.decoder.layers.{}.self_attn.out_proj";
  names.mlp.up = "model.decoder.layers.{}.fc1";
  names.mlp.down = "model.decoder.layers.{}.fc2";
  (norm_before ? names.attn_norm : names.attn_add_norm) =
      "model.decoder.layers.{}.self_attn_layer_norm";
  (norm_before ? names.mlp_norm : names.mlp_add_norm) = "model.decoder.layers.{}.final_layer_norm";
  return names;
}

DecoderSpec describe(const Json& config) {
  refuse_quantization(config);
  DecoderSpec spec;
  spec.model_type = "opt";
  spec.layers = read_size(config, "num_hidden_layers", kMaxLayers, 12);
  spec.d_model = read_size(config, "hidden_size", kMaxWidth, 768);
  spec.vocab = read_size(config, "vocab_size", kMaxVocab, 50272);
  spec.max_positions = read_size(config, "max_position_embeddings", kMaxPositions, 2048);
  spec.position_offset = 2;
  spec.tied_head = read_flag(config, "tie_word_embeddings", true);
  const bool affine = read_flag(config, "layer_norm_elementwise_affine", true);
  spec.norm = {.kind = NormKind::kLayer, .weight = affine, .bias = affine};
  const std::int64_t heads = read_size(config, "num_attention_heads", kMaxWidth, 12);
  spec.attention =
      make_attention(heads, heads, divided_head(spec.d_model, heads, "num_attention_heads"));
  const bool bias = read_flag(config, "enable_bias", true);
  spec.attention.qkv_bias = spec.attention.out_bias = spec.mlp.bias = bias;
  spec.mlp.d_ff = read_size(config, "ffn_dim", kMaxWidth, 3072);
  spec.mlp.activation = read_activation(config, "activation_function", "relu");
  spec.mlp.gated = false;
  spec.layer.assign(static_cast<std::size_t>(spec.layers), {.rope = -1});
  const bool norm_before = read_flag(config, "do_layer_norm_before", true);
  spec.names = names(norm_before);
  if (norm_before && !read_flag(config, "_remove_final_layer_norm", false))
    spec.names.final_norm = "model.decoder.final_layer_norm";
  const std::int64_t width = read_size(config, "word_embed_proj_dim", kMaxWidth, spec.d_model);
  if (width != spec.d_model) {
    spec.d_embed = width;
    spec.names.project_in = "model.decoder.project_in";
    spec.names.project_out = "model.decoder.project_out";
  }
  spec.respellings = {{{"model.", ""}}};
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_opt{
    .name = "opt",
    .title = "OPT 125M to 175B, Galactica",
    .paper = "arXiv:2205.01068",
    .describe = describe,
};

}  // namespace lancet
