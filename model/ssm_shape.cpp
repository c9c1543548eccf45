#include "model/ssm_shape.h"

#include "model/llama_shape.h"

namespace lancet {

DecoderSpec read_mamba_shape(const Json& config, std::string_view model_type, bool tied_head) {
  refuse_quantization(config);
  DecoderSpec spec;
  spec.model_type = model_type;
  spec.layers = read_size(config, "num_hidden_layers", kMaxLayers);
  spec.d_model = read_size(config, "hidden_size", kMaxWidth);
  spec.vocab = read_size(config, "vocab_size", kMaxVocab);
  spec.max_positions = kMaxPositions;  // a state has no positions
  spec.tied_head = read_flag(config, "tie_word_embeddings", tied_head);
  spec.norm.eps = read_number(config, "layer_norm_epsilon", 1e-5);
  static_cast<void>(read_flag(config, "residual_in_fp32", true));  // it always is
  spec.layer.resize(static_cast<std::size_t>(spec.layers), {.rope = -1, .mlp = false, .ssm = true});
  spec.ssm.d_state = read_size(config, "state_size", kMaxWidth);
  spec.ssm.d_conv = read_size(config, "conv_kernel", kMaxWidth, 4);
  spec.ssm.activation = read_activation(config, "hidden_act", "silu");
  spec.ssm.bias = read_flag(config, "use_bias", false);
  spec.ssm.conv_bias = read_flag(config, "use_conv_bias", true);
  spec.names.embed = "backbone.embeddings";
  spec.names.attn_norm = "backbone.layers.{}.norm";
  spec.names.final_norm = "backbone.norm_f";
  spec.names.head = "lm_head";
  spec.names.ssm = ssm_names("backbone.layers.{}.mixer.");
  return spec;
}

SsmNames ssm_names(const std::string& prefix) {
  SsmNames names;
  names.in = prefix + "in_proj";
  names.conv = prefix + "conv1d";
  names.a_log = prefix + "A_log";
  names.d = prefix + "D";
  names.out = prefix + "out_proj";
  return names;
}

void add_first_names(SsmNames& names, const std::string& prefix) {
  names.x = prefix + "x_proj";
  names.dt = prefix + "dt_proj";
}

std::int64_t read_dt_rank(const Json& config, std::string_view key, std::int64_t d_model) {
  const auto at = config.find(key);
  if (at == config.end() || at->is_null() || *at == "auto") return (d_model + 15) / 16;
  return read_size(config, key, kMaxWidth);
}

std::int64_t read_expanded(const Json& config, std::string_view key, std::int64_t d_model) {
  const double wide = read_number(config, key, 2) * static_cast<double>(d_model);
  if (!(wide >= 1) || wide > static_cast<double>(kMaxWidth))
    fail_config(key, wide, "a width from 1 to " + std::to_string(kMaxWidth));
  return static_cast<std::int64_t>(wide);
}

}  // namespace lancet
