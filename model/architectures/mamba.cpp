// Mamba. Gu and Dao 2023, arXiv:2312.00752. No attention and no MLP: h = x + mixer(rms(x)), and of
// the mixer's two halves x, z of in_proj(n)
//   x = silu(conv(x));  dt, B, C = x_proj(x);  dt = softplus(dt_proj(dt))
//   state <- exp(dt A) state + dt x B;  y = C state + D x;  out_proj(y silu(z)).

#include "model/ssm_shape.h"

namespace lancet {
namespace {

DecoderSpec describe(const Json& config) {
  DecoderSpec spec = read_mamba_shape(config, "mamba", true);
  spec.ssm.heads = read_expanded(config, "expand", spec.d_model);
  spec.ssm.dt_rank = read_dt_rank(config, "time_step_rank", spec.d_model);
  add_first_names(spec.names.ssm, "backbone.layers.{}.mixer.");
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_mamba{
    .name = "mamba",
    .title = "Mamba 130M to 2.8B",
    .paper = "arXiv:2312.00752",
    .describe = describe,
};

}  // namespace lancet
