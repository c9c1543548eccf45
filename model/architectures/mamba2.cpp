// Mamba 2. Dao and Gu 2024, arXiv:2405.21060. As Mamba, with one A for each head of several
// channels, B and C shared by groups of heads and out of in_proj beside x, dt + dt_bias without a
// projection of its own, and out_proj(rms(y silu(z))).

#include <array>

#include "model/llama_shape.h"
#include "model/ssm_shape.h"

namespace lancet {
namespace {

/// time_step_limit: [least, most], where most may be infinite, as transformers spells it.
std::array<double, 2> read_limits(const Json& config) {
  constexpr double kNone = std::numeric_limits<double>::infinity();
  const auto at = config.find("time_step_limit");
  if (at == config.end() || at->is_null()) return {0, kNone};
  if (!at->is_array() || at->size() != 2) fail_config("time_step_limit", *at, "two numbers");
  const auto read = [&](const Json& each) {
    if (each == Json{{"__float__", "Infinity"}}) return kNone;
    if (!each.is_number()) fail_config("time_step_limit", *at, "two numbers");
    return each.get<double>();
  };
  const std::array out{read((*at)[0]), read((*at)[1])};
  if (!(out[0] >= 0 && out[0] <= out[1])) fail_config("time_step_limit", *at, "0 <= least <= most");
  return out;
}

DecoderSpec describe(const Json& config) {
  DecoderSpec spec = read_mamba_shape(config, "mamba2", false);
  SsmSpec& ssm = spec.ssm;
  ssm.kind = SsmKind::kMamba2;
  ssm.heads = read_size(config, "num_heads", kMaxWidth, 128);
  ssm.d_head = read_size(config, "head_dim", kMaxWidth, 64);
  ssm.groups = read_size(config, "n_groups", ssm.heads, 8);
  const std::int64_t width = read_expanded(config, "expand", spec.d_model);
  if (ssm.width() != width) {
    fail_config("num_heads", ssm.heads,
                "expand * hidden_size / head_dim, " + std::to_string(width) + " / " +
                    std::to_string(ssm.d_head));
  }
  if (ssm.heads % ssm.groups != 0)
    fail_config("n_groups", ssm.groups, "a divisor of num_heads = " + std::to_string(ssm.heads));
  const auto limits = read_limits(config);
  ssm.dt_min = limits[0];
  ssm.dt_max = limits[1];
  ssm.norm = spec.norm;
  spec.names.ssm.dt_bias = "backbone.layers.{}.mixer.dt_bias";
  spec.names.ssm.norm = "backbone.layers.{}.mixer.norm";
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_mamba2{
    .name = "mamba2",
    .title = "Mamba 2 130M to 2.7B, Codestral Mamba",
    .paper = "arXiv:2405.21060",
    .describe = describe,
};

}  // namespace lancet
