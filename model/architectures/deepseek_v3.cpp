// DeepSeek-V3 and R1. DeepSeek-AI 2024, arXiv:2412.19437. DeepSeek-V2's block with another router:
// sigmoid of each logit; a learned correction takes part in the choice only; a group counts by its
// two best experts; weights are made to sum to routed_scaling_factor. The layer behind the last one
// (multi-token prediction) takes no part.

#include <string>

#include "model/latent_shape.h"

namespace lancet {
namespace {

DecoderSpec describe(const Json& config) {
  DecoderSpec spec = read_latent_shape(config, "deepseek_v3",
                                       {.interleaved = read_flag(config, "rope_interleave", true)});
  expect_option(config, "scoring_func", "sigmoid");
  expect_option(config, "topk_method", "noaux_tc");
  MoeSpec& moe = spec.moe;
  read_groups(config, 2, moe);
  moe.router = RouterKind::kSigmoid;
  moe.correction = true;
  moe.normalize = read_flag(config, "norm_topk_prob", true);
  moe.normalize_eps = 1e-20;
  moe.scale = read_number(config, "routed_scaling_factor", 2.5);
  spec.names.correction = "model.layers.{}.mlp.gate.e_score_correction_bias";
  spec.ignored = {"model.layers." + std::to_string(spec.layers) + ".{}"};
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_deepseek_v3{
    .name = "deepseek_v3",
    .title = "DeepSeek-V3, R1",
    .paper = "arXiv:2412.19437",
    .describe = describe,
};

}  // namespace lancet
