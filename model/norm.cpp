#include "model/norm.h"

#include <torch/csrc/autograd/custom_function.h>

#include "model/cuda/fused.h"
#include "model/intraop.h"
#include "model/kernels/elementwise.h"
#include "model/linear.h"

namespace lancet {
namespace {

constexpr std::int64_t kGrain = 16384;  ///< elements of one parallel chunk

at::Tensor rms_forward(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const std::int64_t d = x.size(-1);
  at::Tensor y = at::empty_like(x);
  kernels::RmsNorm job{.x = x.const_data_ptr<float>(),
                       .ldx = d,
                       .weight = weight.const_data_ptr<float>(),
                       .eps = static_cast<float>(eps),
                       .y = y.mutable_data_ptr<float>(),
                       .ldy = d,
                       .d = d};
  intraop_chunks(x.numel() / d, kGrain / d + 1, [job, d](std::int64_t begin, std::int64_t end) {
    kernels::RmsNorm part = job;
    part.x += begin * d;
    part.y += begin * d;
    part.rows = end - begin;
    kernels::rms_norm(part);
  });
  return y;
}

struct RmsNormFunction : torch::autograd::Function<RmsNormFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x,
                            const at::Tensor& weight, double eps) {
    const at::AutoDispatchBelowAutograd below;
    ctx->save_for_backward({x, weight});
    ctx->saved_data["eps"] = eps;
    return rms_forward(x, weight, eps);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    const at::AutoDispatchBelowAutograd below;
    const auto saved = ctx->get_saved_variables();
    const auto eps = static_cast<float>(ctx->saved_data["eps"].toDouble());
    const at::Tensor dy = grads[0].contiguous();
    at::Tensor dx = at::empty_like(dy);
    const std::int64_t d = dy.size(-1);
    const auto* x = saved[0].const_data_ptr<float>();
    const auto* w = saved[1].const_data_ptr<float>();
    const auto* from = dy.const_data_ptr<float>();
    auto* to = dx.mutable_data_ptr<float>();
    intraop_chunks(dy.numel() / d, kGrain / d + 1, [=](std::int64_t begin, std::int64_t end) {
      kernels::rms_norm_backward({.x = x + begin * d,
                                  .weight = w,
                                  .eps = eps,
                                  .dy = from + begin * d,
                                  .dx = to + begin * d,
                                  .rows = end - begin,
                                  .d = d});
    });
    return {dx, at::Tensor(), at::Tensor()};
  }
};

at::Tensor rms_composed(const Norm& norm, const at::Tensor& x) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor scaled = wide * at::rsqrt(wide.square().mean(-1, true) + norm.spec.eps);
  if (norm.spec.scale_before_cast) return (scaled * norm.weight.to(at::kFloat)).to(x.scalar_type());
  return scaled.to(x.scalar_type()) * norm.weight.to(x.scalar_type());
}

}  // namespace

at::Tensor apply_norm(const Norm& norm, const at::Tensor& x) {
  if (norm.spec.kind == NormKind::kLayer) {
    return at::layer_norm(x, {x.size(-1)}, norm.weight, norm.bias, norm.spec.eps);
  }
  if (fused::covers(x)) return fused::rms_norm(norm, x).normed;
  if (!is_native(x)) return rms_composed(norm, x);
  const at::Tensor input = x.contiguous();
  if (at::GradMode::is_enabled() && input.requires_grad()) {
    return RmsNormFunction::apply(input, norm.weight, norm.spec.eps);
  }
  return rms_forward(input, norm.weight, norm.spec.eps);
}

}  // namespace lancet
