// DeepSeek-V2. DeepSeek-AI 2024, arXiv:2405.04434. Latent attention (model/latent_shape.h); the
// first first_k_dense_replace layers have an MLP, the others a mixture: softmax over all experts,
// the best ones of the best groups (group_limited_greedy: a group counts by its best expert),
// weights times routed_scaling_factor, beside shared experts that are stored as one.

#include "model/latent_shape.h"

namespace lancet {
namespace {

DecoderSpec describe(const Json& config) {
  DecoderSpec spec = read_latent_shape(config, "deepseek_v2", {.interleaved = true});
  expect_option(config, "scoring_func", "softmax");
  expect_option(config, "norm_topk_prob", false);
  MoeSpec& moe = spec.moe;
  constexpr std::array<std::string_view, 2> kMethods{"greedy", "group_limited_greedy"};
  if (read_choice(config, "topk_method", kMethods, "greedy") == 1) read_groups(config, 1, moe);
  moe.scale = read_number(config, "routed_scaling_factor", 1);
  spec.mlp.bias = read_flag(config, "mlp_bias", false);
  if (spec.mlp.bias) fail_config("mlp_bias", true, "false");
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_deepseek_v2{
    .name = "deepseek_v2",
    .title = "DeepSeek-V2, V2-Lite, Coder-V2",
    .paper = "arXiv:2405.04434",
    .describe = describe,
};

}  // namespace lancet
