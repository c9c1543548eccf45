// Jamba. Lieber et al. 2024, arXiv:2403.19887. Mamba's mixer in most blocks, with RMS norms of dt,
// B and C, and attention without positions in every attn_layer_period-th; an MLP behind each of
// them, which in every expert_layer_period-th is a mixture: softmax over all experts, weights as
// they are.

#include "model/llama_shape.h"
#include "model/ssm_shape.h"

namespace lancet {
namespace {

/// Layers i with i mod period = offset.
std::vector<bool> read_period(const Json& config, const std::string& what, std::int64_t layers,
                              std::int64_t period, std::int64_t offset) {
  period = read_size(config, what + "_layer_period", kMaxLayers, period);
  offset = read_count(config, what + "_layer_offset", period - 1, offset);
  std::vector<bool> out;
  for (std::int64_t i = 0; i < layers; ++i) out.push_back(i % period == offset);
  return out;
}

SsmSpec read_ssm(const Json& config, const DecoderSpec& spec) {
  SsmSpec ssm;
  ssm.heads = read_expanded(config, "mamba_expand", spec.d_model);
  ssm.d_state = read_size(config, "mamba_d_state", kMaxWidth, 16);
  ssm.d_conv = read_size(config, "mamba_d_conv", kMaxWidth, 4);
  ssm.dt_rank = read_dt_rank(config, "mamba_dt_rank", spec.d_model);
  ssm.conv_bias = read_flag(config, "mamba_conv_bias", true);
  ssm.bias = read_flag(config, "mamba_proj_bias", false);
  ssm.activation = spec.mlp.activation;
  ssm.inner_norms = true;
  ssm.norm = spec.norm;
  return ssm;
}

void name_tensors(NameSpec& names) {
  const std::string block = "model.layers.{}.";
  const std::string mixer = block + "mamba.";
  names.final_norm = "model.final_layernorm";
  names.mlp_norm = block + "pre_ff_layernorm";
  names.mlp = {.gate = block + "feed_forward.gate_proj",
               .up = block + "feed_forward.up_proj",
               .gate_up = "",
               .down = block + "feed_forward.down_proj"};
  names.router = block + "feed_forward.router";
  names.expert = {.gate = block + "feed_forward.experts.{}.gate_proj",
                  .up = block + "feed_forward.experts.{}.up_proj",
                  .gate_up = "",
                  .down = block + "feed_forward.experts.{}.down_proj"};
  names.ssm = ssm_names(mixer);
  add_first_names(names.ssm, mixer);
  names.ssm.dt_norm = mixer + "dt_layernorm";
  names.ssm.b_norm = mixer + "b_layernorm";
  names.ssm.c_norm = mixer + "c_layernorm";
}

DecoderSpec describe(const Json& config) {
  DecoderSpec spec = read_llama_shape(config, "jamba", {.max_positions = 262144, .kv_heads = 8});
  expect_option(config, "mamba_inner_layernorms", true);
  expect_option(config, "sliding_window", nullptr);
  spec.ropes.clear();
  spec.ssm = read_ssm(config, spec);
  const bool mixed = read_size(config, "num_experts", kMaxExperts, 16) > 1;
  if (mixed) spec.moe = read_moe(config, {.experts = "num_experts", .d_ff = "intermediate_size"});
  const auto attends = read_period(config, "attn", spec.layers, 8, 4);
  const auto mixes = read_period(config, "expert", spec.layers, 2, 1);
  for (std::size_t i = 0; i < spec.layer.size(); ++i) {
    spec.layer[i].rope = -1;
    spec.layer[i].ssm = !attends[i];
    spec.layer[i].moe = mixes[i] && mixed;
  }
  name_tensors(spec.names);
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_jamba{
    .name = "jamba",
    .title = "Jamba",
    .paper = "arXiv:2403.19887",
    .describe = describe,
};

}  // namespace lancet
