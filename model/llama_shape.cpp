#include "model/llama_shape.h"

#include <algorithm>
#include <cmath>

namespace lancet {
namespace {

NameSpec llama_names() {
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
  names.mlp.gate = "model.layers.{}.mlp.gate_proj";
  names.mlp.up = "model.layers.{}.mlp.up_proj";
  names.mlp.down = "model.layers.{}.mlp.down_proj";
  return names;
}

}  // namespace

void refuse_quantization(const Json& config) {
  if (const auto at = config.find("quantization_config"); at != config.end() && !at->is_null()) {
    fail_config("quantization_config", *at, "no quantisation");
  }
}

std::int64_t divided_head(std::int64_t d_model, std::int64_t heads, std::string_view heads_key) {
  if (d_model % heads != 0) {
    fail_config(heads_key, heads, "a divisor of the width " + std::to_string(d_model));
  }
  return d_model / heads;
}

AttentionSpec make_attention(std::int64_t heads, std::int64_t kv_heads, std::int64_t d_head) {
  if (heads % kv_heads != 0) {
    fail_config("num_key_value_heads", kv_heads,
                "a divisor of num_attention_heads = " + std::to_string(heads));
  }
  if (d_head < 2 || d_head % 2 != 0) {
    fail_config("head_dim", d_head, "an even number of at least 2");
  }
  AttentionSpec attention;
  attention.heads = heads;
  attention.kv_heads = kv_heads;
  attention.d_head = d_head;
  attention.scale = 1 / std::sqrt(static_cast<double>(d_head));
  return attention;
}

DecoderSpec read_llama_shape(const Json& config, std::string_view model_type,
                             const LlamaDefaults& defaults) {
  refuse_quantization(config);
  DecoderSpec spec;
  spec.model_type = model_type;
  spec.layers = read_size(config, "num_hidden_layers", kMaxLayers);
  spec.d_model = read_size(config, "hidden_size", kMaxWidth);
  spec.vocab = read_size(config, "vocab_size", kMaxVocab);
  spec.max_positions =
      read_size(config, "max_position_embeddings", kMaxPositions, defaults.max_positions);
  spec.tied_head = read_flag(config, "tie_word_embeddings", defaults.tied_head);
  spec.norm.eps = read_number(config, defaults.norm_eps_key, defaults.norm_eps);
  const std::int64_t heads = read_size(config, "num_attention_heads", kMaxWidth);
  const std::int64_t kv_heads = read_size(config, "num_key_value_heads", kMaxWidth,
                                          defaults.kv_heads == 0 ? heads : defaults.kv_heads);
  std::int64_t d_head = read_optional_size(config, "head_dim", kMaxWidth);
  if (d_head == 0) d_head = defaults.d_head;
  if (d_head == 0) d_head = divided_head(spec.d_model, heads, "num_attention_heads");
  spec.attention = make_attention(heads, kv_heads, d_head);
  spec.ropes = {read_rope(config, d_head, spec.max_positions, defaults.rope)};
  spec.mlp.d_ff = read_size(config, defaults.d_ff_key, kMaxWidth);
  spec.mlp.activation = read_activation(config, defaults.activation_key, defaults.activation);
  spec.layer.resize(static_cast<std::size_t>(spec.layers));
  spec.names = llama_names();
  return spec;
}

void set_windows(DecoderSpec& spec, const std::vector<bool>& sliding, std::int64_t window) {
  for (std::size_t i = 0; i < sliding.size(); ++i) {
    spec.layer[i].window = sliding[i] ? window : 0;
  }
}

std::int64_t read_used_window(const Json& config, std::int64_t fallback) {
  const bool used = read_flag(config, "use_sliding_window", false);
  const std::int64_t window = used ? read_window(config, fallback) : 0;
  const auto types = config.find("layer_types");
  if (window == 0 && types != config.end() && types->is_array() &&
      std::ranges::find(*types, Json("sliding_attention")) != types->end()) {
    fail_config("layer_types", "sliding_attention",
                used ? "full_attention where there is no sliding_window"
                     : "full_attention where use_sliding_window is false");
  }
  return window;
}

void read_qwen_windows(const Json& config, DecoderSpec& spec) {
  const std::int64_t window = read_used_window(config, 4096);
  const std::int64_t full = read_count(config, "max_window_layers", kMaxLayers, 28);
  set_windows(spec,
              read_layer_types(config, spec.layers, "sliding_attention",
                               [&](std::int64_t layer) { return window > 0 && layer >= full; }),
              window);
}

MoeSpec read_moe(const Json& config, const MoeKeys& keys) {
  MoeSpec moe;
  // transformers 5 writes its own word for some families.
  const bool own = config.contains(keys.experts);
  moe.experts = read_size(config, own ? keys.experts : "num_local_experts", kMaxExperts);
  moe.top_k = read_size(config, keys.top_k, moe.experts);
  moe.d_ff = read_size(config, keys.d_ff, kMaxWidth);
  return moe;
}

void read_qwen_mixtures(const Json& config, DecoderSpec& spec) {
  const std::int64_t step = read_size(config, "decoder_sparse_step", kMaxLayers, 1);
  const auto dense = read_named_layers(config, "mlp_only_layers", spec.layers);
  for (std::int64_t i = 0; i < spec.layers; ++i) {
    const auto at = static_cast<std::size_t>(i);
    spec.layer[at].moe = !dense[at] && (i + 1) % step == 0;
  }
}

}  // namespace lancet
