#include "model/mlp.h"

#include <torch/csrc/autograd/custom_function.h>

#include "model/cuda/fused.h"
#include "model/decoder_parts.h"
#include "model/intraop.h"
#include "model/kernels/elementwise.h"
#include "model/linear.h"

namespace lancet {
namespace {

constexpr std::int64_t kGrain = 8192;  ///< elements of one parallel chunk

at::Tensor silu_mul(const at::Tensor& gate, const at::Tensor& up) {
  at::Tensor y = at::empty_like(gate);
  const auto* g = gate.const_data_ptr<float>();
  const auto* u = up.const_data_ptr<float>();
  auto* to = y.mutable_data_ptr<float>();
  intraop_chunks(gate.numel(), kGrain, [=](std::int64_t begin, std::int64_t end) {
    kernels::silu_mul(g + begin, u + begin, to + begin, end - begin);
  });
  return y;
}

struct SiluMulFunction : torch::autograd::Function<SiluMulFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& gate,
                            const at::Tensor& up) {
    const at::AutoDispatchBelowAutograd below;
    ctx->save_for_backward({gate, up});
    return silu_mul(gate, up);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    const at::AutoDispatchBelowAutograd below;
    const auto saved = ctx->get_saved_variables();
    const at::Tensor dy = grads[0].contiguous();
    at::Tensor d_gate = at::empty_like(dy);
    at::Tensor d_up = at::empty_like(dy);
    const auto* g = saved[0].const_data_ptr<float>();
    const auto* u = saved[1].const_data_ptr<float>();
    const auto* from = dy.const_data_ptr<float>();
    auto* to_gate = d_gate.mutable_data_ptr<float>();
    auto* to_up = d_up.mutable_data_ptr<float>();
    intraop_chunks(dy.numel(), kGrain, [=](std::int64_t begin, std::int64_t end) {
      kernels::silu_mul_backward({.gate = g + begin,
                                  .up = u + begin,
                                  .dy = from + begin,
                                  .d_gate = to_gate + begin,
                                  .d_up = to_up + begin,
                                  .n = end - begin});
    });
    return {d_gate, d_up};
  }
};

/// f(x) for a function of single elements. LibTorch's treat the last ones of a tensor otherwise
/// than those before, so a few rows that decoding reads are computed one by one, and have the bits
/// of single ones.
template <class Function>
at::Tensor row_by_row(const at::Tensor& x, const Function& f) {
  const std::int64_t width = x.size(-1), rows = x.numel() / width;
  if (rows == 1 || rows > kFewTokens || !is_native(x) ||
      (at::GradMode::is_enabled() && x.requires_grad()))
    return f(x);
  std::vector<at::Tensor> out;
  for (const at::Tensor& row : x.reshape({rows, width}).unbind()) out.push_back(f(row));
  return at::stack(out).view(x.sizes());
}

at::Tensor activate(Activation kind, const at::Tensor& x) {
  switch (kind) {
    case Activation::kSilu:
      return at::silu(x);
    case Activation::kGelu:
      return row_by_row(x, [](const at::Tensor& row) { return at::gelu(row); });
    case Activation::kGeluTanh:
      return row_by_row(x, [](const at::Tensor& row) { return at::gelu(row, "tanh"); });
    case Activation::kQuickGelu:
      return row_by_row(x, [](const at::Tensor& row) { return row * at::sigmoid(1.702 * row); });
    case Activation::kRelu:
      return at::relu(x);
    case Activation::kRelu2:
      return at::relu(x).square();
    case Activation::kClampedSwiglu:
      break;  // has two inputs: clamped_swiglu()
  }
  return x;
}

at::Tensor clamped_swiglu(const at::Tensor& gate, const at::Tensor& up) {
  constexpr double kLimit = 7;
  const at::Tensor g = gate.clamp_max(kLimit);
  return (up.clamp(-kLimit, kLimit) + 1) * (g * at::sigmoid(g * 1.702));
}

/// silu(gate) * up by our kernels, both contiguous.
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  if (fused::covers(gate)) return fused::swiglu(gate, up);
  const bool grad = at::GradMode::is_enabled() && (gate.requires_grad() || up.requires_grad());
  return grad ? SiluMulFunction::apply(gate, up) : silu_mul(gate, up);
}

}  // namespace

Derived apply_activation(Activation kind, const at::Tensor& gate, const at::Tensor& up) {
  if (!up.defined()) return activate(kind, gate);
  if (kind == Activation::kClampedSwiglu) return clamped_swiglu(gate, up);
  if (kind != Activation::kSilu || (!fused::covers(gate) && !is_native(gate)))
    return activate(kind, gate) * up;
  const at::Tensor g = gate.contiguous();
  const at::Tensor u = up.contiguous();
  return {swiglu(g, u), {g, u}, [](const std::vector<at::Tensor>& sources) {
            return swiglu(sources[0], sources[1]);
          }};
}

Derived mlp_key(const MlpPart& part, const Derived& x) {
  const auto inner = apply_linears(part.inner, x);
  if (!part.fused) {
    return apply_activation(part.activation, inner[0], inner.size() == 2 ? inner[1] : at::Tensor());
  }
  if (part.interleaved) {
    return apply_activation(part.activation, inner[0].slice(-1, 0, std::nullopt, 2),
                            inner[0].slice(-1, 1, std::nullopt, 2));
  }
  const auto halves = inner[0].chunk(2, -1);
  return apply_activation(part.activation, halves[0], halves[1]);
}

}  // namespace lancet
