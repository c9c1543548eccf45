#include "model/residual.h"

#include <torch/csrc/autograd/custom_function.h>

#include "model/cuda/fused.h"
#include "model/intraop.h"
#include "model/kernels/elementwise.h"
#include "model/linear.h"

namespace lancet {
namespace {

constexpr std::int64_t kGrain = 32768;      ///< elements of one parallel chunk
constexpr std::int64_t kNormGrain = 16384;  ///< the same, of norms

at::Tensor sum_of(const at::Tensor& x, const at::Tensor& y) {
  at::Tensor out = at::empty_like(x);
  const auto* a = x.const_data_ptr<float>();
  const auto* b = y.const_data_ptr<float>();
  auto* to = out.mutable_data_ptr<float>();
  intraop_chunks(x.numel(), kGrain, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) to[i] = a[i] + b[i];
  });
  return out;
}

struct AddFunction : torch::autograd::Function<AddFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext*, const at::Tensor& stream,
                            const at::Tensor& update) {
    const at::AutoDispatchBelowAutograd below;
    return sum_of(stream, update);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext*,
                                                 const torch::autograd::variable_list& grads) {
    return {grads[0], grads[0]};
  }
};

struct BranchFunction : torch::autograd::Function<BranchFunction> {
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* ctx,
                                                const at::Tensor& x, const Norm& norm) {
    const at::AutoDispatchBelowAutograd below;
    ctx->save_for_backward({x, norm.weight});
    ctx->saved_data["eps"] = norm.spec.eps;
    ctx->set_materialize_grads(false);
    return {x, apply_norm(norm, x)};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    const at::AutoDispatchBelowAutograd below;
    if (!grads[1].defined()) return {grads[0], at::Tensor()};
    const auto saved = ctx->get_saved_variables();
    const auto eps = static_cast<float>(ctx->saved_data["eps"].toDouble());
    const at::Tensor dy = grads[1].contiguous();
    const at::Tensor plus = grads[0].defined() ? grads[0].contiguous() : at::Tensor();
    at::Tensor dx = at::empty_like(dy);
    const std::int64_t d = dy.size(-1);
    const kernels::RmsNormBackward all{
        .x = saved[0].const_data_ptr<float>(),
        .weight = saved[1].const_data_ptr<float>(),
        .eps = eps,
        .dy = dy.const_data_ptr<float>(),
        .plus = plus.defined() ? plus.const_data_ptr<float>() : nullptr,
        .dx = dx.mutable_data_ptr<float>(),
        .rows = 0,
        .d = d};
    intraop_chunks(dy.numel() / d, kNormGrain / d + 1, [=](std::int64_t begin, std::int64_t end) {
      kernels::RmsNormBackward part = all;
      part.x += begin * d;
      part.dy += begin * d;
      part.dx += begin * d;
      if (part.plus != nullptr) part.plus += begin * d;
      part.rows = end - begin;
      kernels::rms_norm_backward(part);
    });
    return {dx, at::Tensor()};
  }
};

bool native_pair(const at::Tensor& x, const at::Tensor& y) {
  return is_native(x) && is_native(y) && x.is_contiguous() && y.is_contiguous();
}

/// The norm of a stream that the norm's own backward pass keeps.
Derived normed_of(const Norm& norm, const at::Tensor& stream, const at::Tensor& normed) {
  return {normed, {stream}, [norm](const std::vector<at::Tensor>& sources) {
            return apply_norm(norm, sources[0]);
          }};
}

}  // namespace

at::Tensor add_to_stream(const at::Tensor& stream, const at::Tensor& update) {
  if (!native_pair(stream, update)) return stream + update;
  const bool grad =
      at::GradMode::is_enabled() && (stream.requires_grad() || update.requires_grad());
  return grad ? AddFunction::apply(stream, update) : sum_of(stream, update);
}

Branch branch_off(const Norm& norm, const at::Tensor& stream) {
  if (!norm.weight.defined()) return {stream, stream};
  if (norm.spec.kind == NormKind::kRms && fused::covers(stream)) {
    const fused::Normed both = fused::rms_norm(norm, stream);
    return {both.stream, normed_of(norm, stream, both.normed)};
  }
  const bool fused = norm.spec.kind == NormKind::kRms && is_native(stream) &&
                     stream.is_contiguous() && at::GradMode::is_enabled() && stream.requires_grad();
  if (!fused) return {stream, apply_norm(norm, stream)};
  const auto both = BranchFunction::apply(stream, norm);
  return {both[0], normed_of(norm, stream, both[1])};
}

}  // namespace lancet
