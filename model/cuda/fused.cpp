#include "model/cuda/fused.h"

#include <torch/csrc/autograd/custom_function.h>

#include "core/error.h"
#include "model/cuda/launch.h"

namespace lancet::fused {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// x [..., d] as rows at equal distances `stride`; a copy where they are not.
struct Rows {
  at::Tensor x;
  std::int64_t stride, count;
};

Rows rows_of(const at::Tensor& x) {
  const std::int64_t d = x.size(-1);
  const std::int64_t count = x.numel() / std::max<std::int64_t>(d, 1);
  bool even = x.stride(-1) == 1;
  std::int64_t stride = -1, next = -1;
  for (std::int64_t dim = x.dim() - 2; dim >= 0 && even; --dim) {
    if (x.size(dim) == 1) continue;
    even = next < 0 || x.stride(dim) == next;
    if (next < 0) stride = x.stride(dim);
    next = x.stride(dim) * x.size(dim);
  }
  return even ? Rows{x, stride < 0 ? d : stride, count} : Rows{x.contiguous(), d, count};
}

at::Tensor norm_forward(const at::Tensor& x, const at::Tensor& weight, double eps, bool early) {
  at::Tensor y = at::empty_like(x);
  const std::int64_t d = x.size(-1);
  run_job(x.device(), "rms_norm", &Kernels::rms_norm,
          {.x = x.const_data_ptr(),
           .weight = weight.const_data_ptr(),
           .y = y.mutable_data_ptr(),
           .rows = x.numel() / d,
           .d = d,
           .eps = static_cast<float>(eps),
           .type = type_of(x),
           .weight_type = type_of(weight),
           .scale_before_cast = early});
  return y;
}

/// Inputs: x and, without a gradient, the weight. Outputs: x itself, its norm.
struct NormFunction : torch::autograd::Function<NormFunction> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                               double eps, bool early) {
    const at::AutoDispatchBelowAutograd below;
    ctx->save_for_backward({x, weight});
    ctx->saved_data["eps"] = eps;
    ctx->set_materialize_grads(false);
    return {x, norm_forward(x, weight, eps, early)};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const at::AutoDispatchBelowAutograd below;
    if (!grads[1].defined()) return {grads[0], at::Tensor(), at::Tensor(), at::Tensor()};
    const auto saved = ctx->get_saved_variables();
    const at::Tensor dy = grads[1].contiguous();
    const at::Tensor plus = grads[0].defined() ? grads[0].contiguous() : at::Tensor();
    at::Tensor dx = at::empty_like(dy);
    const std::int64_t d = dy.size(-1);
    run_job(dy.device(), "rms_norm_backward", &Kernels::rms_norm_backward,
            {.x = saved[0].const_data_ptr(),
             .weight = saved[1].const_data_ptr(),
             .dy = dy.const_data_ptr(),
             .plus = plus.defined() ? plus.const_data_ptr() : nullptr,
             .dx = dx.mutable_data_ptr(),
             .rows = dy.numel() / d,
             .d = d,
             .eps = static_cast<float>(ctx->saved_data["eps"].toDouble()),
             .type = type_of(dy),
             .weight_type = type_of(saved[1])});
    return {dx, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

struct Turn {
  std::int64_t d_head, dims;
  bool interleaved;
  at::Tensor cos, sin, positions;
};

at::Tensor turned(const at::Tensor& x, const Turn& turn, bool inverse) {
  const Rows rows = rows_of(x);
  at::Tensor y = at::empty(x.sizes(), x.options());
  const std::int64_t width = x.size(-1);
  run_job(x.device(), "rotate", &Kernels::rotate,
          {.x = rows.x.const_data_ptr(),
           .y = y.mutable_data_ptr(),
           .ldx = rows.stride,
           .ldy = width,
           .cos = turn.cos.const_data_ptr<float>(),
           .sin = turn.sin.const_data_ptr<float>(),
           .positions = turn.positions.const_data_ptr<std::int64_t>(),
           .rows = rows.count,
           .heads = width / turn.d_head,
           .d_head = turn.d_head,
           .dims = turn.dims,
           .interleaved = turn.interleaved,
           .inverse = inverse,
           .type = type_of(x)});
  return y;
}

struct RotateFunction : torch::autograd::Function<RotateFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const Turn& turn) {
    const at::AutoDispatchBelowAutograd below;
    ctx->save_for_backward({turn.cos, turn.sin, turn.positions});
    ctx->saved_data["d_head"] = turn.d_head;
    ctx->saved_data["dims"] = turn.dims;
    ctx->saved_data["interleaved"] = turn.interleaved;
    return turned(x, turn, false);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const at::AutoDispatchBelowAutograd below;
    const auto saved = ctx->get_saved_variables();
    const Turn turn{ctx->saved_data["d_head"].toInt(),
                    ctx->saved_data["dims"].toInt(),
                    ctx->saved_data["interleaved"].toBool(),
                    saved[0],
                    saved[1],
                    saved[2]};
    return {turned(grads[0], turn, true), at::Tensor()};
  }
};

at::Tensor swiglu_forward(const at::Tensor& gate, const at::Tensor& up) {
  const Rows g = rows_of(gate), u = rows_of(up);
  at::Tensor y = at::empty(gate.sizes(), gate.options());
  run_job(gate.device(), "swiglu", &Kernels::swiglu,
          {.gate = g.x.const_data_ptr(),
           .up = u.x.const_data_ptr(),
           .y = y.mutable_data_ptr(),
           .ld_gate = g.stride,
           .ld_up = u.stride,
           .rows = g.count,
           .d = gate.size(-1),
           .type = type_of(gate)});
  return y;
}

struct SwigluFunction : torch::autograd::Function<SwigluFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate, const at::Tensor& up) {
    const at::AutoDispatchBelowAutograd below;
    ctx->save_for_backward({gate, up});
    return swiglu_forward(gate, up);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const at::AutoDispatchBelowAutograd below;
    const auto saved = ctx->get_saved_variables();
    const Rows gate = rows_of(saved[0]), up = rows_of(saved[1]);
    const at::Tensor dy = grads[0].contiguous();
    at::Tensor d_gate = at::empty_like(dy), d_up = at::empty_like(dy);
    run_job(dy.device(), "swiglu_backward", &Kernels::swiglu_backward,
            {.gate = gate.x.const_data_ptr(),
             .up = up.x.const_data_ptr(),
             .dy = dy.const_data_ptr(),
             .d_gate = d_gate.mutable_data_ptr(),
             .d_up = d_up.mutable_data_ptr(),
             .ld_gate = gate.stride,
             .ld_up = up.stride,
             .rows = gate.count,
             .d = dy.size(-1),
             .type = type_of(dy)});
    return {d_gate, d_up};
  }
};

template <class T>
at::Tensor on_device(std::span<const T> values, at::ScalarType type, const at::Device& device) {
  return at::tensor(at::ArrayRef<T>(values.data(), values.size()), type).to(device);
}

}  // namespace

bool covers(const at::Tensor& x) {
  return has_type(x.scalar_type()) && kernels_of(x.device()) != nullptr;
}

Normed rms_norm(const Norm& norm, const at::Tensor& x) {
  if (norm.spec.kind != NormKind::kRms) fail(ErrorKind::kInternal, "cuda", "expected an RMS norm");
  const bool own =
      norm.weight.scalar_type() == at::kFloat || norm.weight.scalar_type() == x.scalar_type();
  const at::Tensor weight = (own ? norm.weight : norm.weight.to(x.scalar_type())).contiguous();
  const at::Tensor input = x.contiguous();
  const double eps = norm.spec.eps;
  const bool early = norm.spec.scale_before_cast;
  if (!at::GradMode::is_enabled() || !input.requires_grad())
    return {input, norm_forward(input, weight, eps, early)};
  const auto both = NormFunction::apply(input, weight, eps, early);
  return {both[0], both[1]};
}

at::Tensor rotate(const at::Tensor& x, std::int64_t d_head, const RopeSpec& rope,
                  const RopeTable& table, const at::Tensor& positions) {
  const Turn turn{d_head,
                  rope.dims,
                  rope.interleaved,
                  table.cos.contiguous(),
                  table.sin.contiguous(),
                  positions.contiguous()};
  if (!at::GradMode::is_enabled() || !x.requires_grad()) return turned(x, turn, false);
  return RotateFunction::apply(x, turn);
}

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  const bool grad = at::GradMode::is_enabled() && (gate.requires_grad() || up.requires_grad());
  return grad ? SwigluFunction::apply(gate, up) : swiglu_forward(gate, up);
}

at::Tensor cross_entropy(const at::Tensor& logits, std::span<const std::int32_t> targets,
                         std::span<const float> weights, const LogitForm& form, bool gradient) {
  const at::Device device = logits.device();
  const std::int64_t rows = logits.size(0);
  const bool weighted = !weights.empty();
  if (!logits.is_contiguous() || std::cmp_not_equal(targets.size(), rows) ||
      (weighted && weights.size() != targets.size()))
    fail(ErrorKind::kInternal, "cuda", "expected logits [rows, vocab] and a target for each row");
  std::vector<std::int64_t> ranges;
  for (const auto& [first, last] : form.masked) ranges.insert(ranges.end(), {first, last});
  const at::Tensor to = on_device(targets, at::kInt, device);
  const at::Tensor by = weighted ? on_device(weights, at::kFloat, device) : at::Tensor();
  const at::Tensor masked = on_device(std::span<const std::int64_t>(ranges), at::kLong, device);
  at::Tensor losses = at::empty({rows}, logits.options().dtype(at::kDouble));
  run_job(device, "cross_entropy", &Kernels::cross_entropy,
          {.logits = logits.mutable_data_ptr(),
           .targets = to.const_data_ptr<std::int32_t>(),
           .weights = weighted ? by.const_data_ptr<float>() : nullptr,
           .losses = losses.mutable_data_ptr<double>(),
           .masked = masked.const_data_ptr<std::int64_t>(),
           .masked_ranges = static_cast<std::int64_t>(form.masked.size()),
           .rows = rows,
           .vocab = logits.size(1),
           .scale = static_cast<float>(form.scale),
           .softcap = static_cast<float>(form.softcap),
           .gradient = gradient,
           .type = type_of(logits)});
  return losses;
}

}  // namespace lancet::fused
