#include "model/latent_shape.h"

#include <cmath>
#include <string>
#include <utility>

namespace lancet {
namespace {

/// What YaRN's mscale_all_dim multiplies scores by.
double yarn_score_scale(const Json& config, const RopeSpec& rope) {
  if (rope.kind == RopeKind::kDefault || rope.factor <= 1) return 1;
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const auto at = config.find(key);
    if (at == config.end() || !at->is_object()) continue;
    const double all = read_number(*at, "mscale_all_dim", 0);
    const double scale = all == 0 ? 1 : 0.1 * all * std::log(rope.factor) + 1;
    return scale * scale;
  }
  return 1;
}

void describe_attention(const Json& config, const LatentDefaults& defaults, DecoderSpec& spec) {
  LatentSpec mla;
  mla.q_rank = read_optional_size(config, "q_lora_rank", kMaxWidth);
  mla.kv_rank = read_size(config, "kv_lora_rank", kMaxWidth, 512);
  mla.d_rope = read_size(config, "qk_rope_head_dim", kMaxWidth, 64);
  mla.d_plain = read_size(config, "qk_nope_head_dim", kMaxWidth, 128);
  mla.d_value = read_size(config, "v_head_dim", kMaxWidth, 128);
  mla.norm.eps = 1e-6;
  mla.bias = read_flag(config, "attention_bias", false);
  if (mla.d_value > mla.d_rope + mla.d_plain) {
    fail_config("v_head_dim", mla.d_value,
                "at most qk_rope_head_dim + qk_nope_head_dim = " +
                    std::to_string(mla.d_rope + mla.d_plain));
  }
  const std::int64_t heads = spec.attention.heads;
  const std::int64_t kv_heads = read_size(config, "num_key_value_heads", kMaxWidth, heads);
  if (kv_heads != heads)
    fail_config("num_key_value_heads", kv_heads, "as many as num_attention_heads");
  spec.attention = make_attention(heads, heads, mla.d_rope + mla.d_plain);
  spec.ropes = {read_rope(config, mla.d_rope, spec.max_positions)};
  spec.ropes[0].interleaved = defaults.interleaved;
  spec.attention.scale *= yarn_score_scale(config, spec.ropes[0]);
  spec.attention.out_bias = mla.bias;
  spec.attention.latent = true;
  spec.attention.mla = mla;
  NameSpec& names = spec.names;
  names.q_a = "model.layers.{}.self_attn.q_a_proj";
  names.q_a_norm = "model.layers.{}.self_attn.q_a_layernorm";
  names.q_b = "model.layers.{}.self_attn.q_b_proj";
  names.kv_a = "model.layers.{}.self_attn.kv_a_proj_with_mqa";
  names.kv_a_norm = "model.layers.{}.self_attn.kv_a_layernorm";
  names.kv_b = "model.layers.{}.self_attn.kv_b_proj";
}

void describe_mixtures(const Json& config, DecoderSpec& spec) {
  spec.moe = read_moe(config, {.experts = "n_routed_experts", .d_ff = "moe_intermediate_size"});
  spec.moe.shared_d_ff =
      spec.moe.d_ff * read_size(config, "n_shared_experts", kMaxWidth / spec.moe.d_ff, 1);
  const std::int64_t dense = read_count(config, "first_k_dense_replace", spec.layers, 0);
  expect_option(config, "moe_layer_freq", 1);
  for (std::size_t i = 0; i < spec.layer.size(); ++i)
    spec.layer[i].moe = std::cmp_greater_equal(i, dense);
  NameSpec& names = spec.names;
  names.router = "model.layers.{}.mlp.gate";
  names.expert.gate = "model.layers.{}.mlp.experts.{}.gate_proj";
  names.expert.up = "model.layers.{}.mlp.experts.{}.up_proj";
  names.expert.down = "model.layers.{}.mlp.experts.{}.down_proj";
  names.shared.gate = "model.layers.{}.mlp.shared_experts.gate_proj";
  names.shared.up = "model.layers.{}.mlp.shared_experts.up_proj";
  names.shared.down = "model.layers.{}.mlp.shared_experts.down_proj";
}

}  // namespace

DecoderSpec read_latent_shape(const Json& config, std::string_view model_type,
                              const LatentDefaults& defaults) {
  // head_dim, where a file has it, is that of the rotated part.
  Json shape = config;
  shape["head_dim"] = read_size(config, "qk_rope_head_dim", kMaxWidth, 64);
  DecoderSpec spec = read_llama_shape(shape, model_type);
  describe_attention(config, defaults, spec);
  describe_mixtures(config, spec);
  return spec;
}

void read_groups(const Json& config, std::int64_t best, MoeSpec& moe) {
  moe.groups = read_size(config, "n_group", moe.experts, 1);
  moe.top_groups = read_size(config, "topk_group", moe.groups, moe.groups);
  moe.group_best = best;
  if (moe.experts % moe.groups != 0) {
    fail_config("n_group", moe.groups,
                "a divisor of the " + std::to_string(moe.experts) + " experts");
  }
  const std::int64_t size = moe.experts / moe.groups;
  if (best > size || moe.top_k > moe.top_groups * size) {
    fail_config("topk_group", moe.top_groups,
                "groups with at least " + std::to_string(moe.top_k) + " experts");
  }
}

}  // namespace lancet
