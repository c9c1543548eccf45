#include "model/mlp.h"

#include <algorithm>

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

/// f(out, x, dy) for a function of single elements, row by row; dy may be undefined. LibTorch's
/// treat the last elements of what they are given otherwise than those before, and give each thread
/// a part: here every row has the bits of a single one, whatever the threads and the rows beside
/// it.
template <class Function>
at::Tensor by_rows(const at::Tensor& x, const at::Tensor& dy, const Function& f) {
  constexpr std::int64_t kVectors = 64;  ///< multiples of which LibTorch has no last elements
  const at::Tensor in = x.contiguous(), back = dy.defined() ? dy.contiguous() : dy;
  at::Tensor out = at::empty_like(in);
  if (in.numel() == 0) return out;
  const std::int64_t width = in.size(-1) % kVectors == 0 ? in.numel() : in.size(-1);
  const std::int64_t pieces = (width + kGrain - 1) / kGrain;  // too small for LibTorch's threads
  const auto* from = in.const_data_ptr<float>();
  const auto* grad = back.defined() ? back.const_data_ptr<float>() : nullptr;
  auto* to = out.mutable_data_ptr<float>();
  const auto run = [=](std::int64_t begin, std::int64_t end) {
    const at::AutoDispatchBelowAutograd below;
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t at = i % pieces * kGrain;
      const auto part = [&](const float* all) {
        return at::from_blob(const_cast<float*>(all + i / pieces * width + at),
                             {std::min(kGrain, width - at)}, at::kFloat);
      };
      at::Tensor y = part(to);
      f(y, part(from), grad == nullptr ? at::Tensor() : part(grad));
    }
  };
  intraop_chunks(in.numel() / width * pieces, kGrain / width + 1, run);
  return out;
}

at::Tensor gelu_rows(const at::Tensor& x, const char* form) {
  return by_rows(x, {}, [form](at::Tensor& y, const at::Tensor& part, const at::Tensor&) {
    at::gelu_out(y, part, form);
  });
}

struct GeluFunction : torch::autograd::Function<GeluFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x, bool tanh) {
    const at::AutoDispatchBelowAutograd below;
    ctx->save_for_backward({x});
    ctx->saved_data["tanh"] = tanh;
    return gelu_rows(x, tanh ? "tanh" : "none");
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    const at::AutoDispatchBelowAutograd below;
    const char* form = ctx->saved_data["tanh"].toBool() ? "tanh" : "none";
    const auto gelu_back = [form](at::Tensor& y, const at::Tensor& x, const at::Tensor& dy) {
      at::gelu_backward_out(y, dy, x, form);
    };
    return {by_rows(ctx->get_saved_variables()[0], grads[0], gelu_back), at::Tensor()};
  }
};

at::Tensor gelu(const at::Tensor& x, bool tanh) {
  const char* form = tanh ? "tanh" : "none";
  if (!is_native(x)) return at::gelu(x, form);
  const bool grad = at::GradMode::is_enabled() && x.requires_grad();
  return grad ? GeluFunction::apply(x, tanh) : gelu_rows(x, form);
}

at::Tensor quick_gelu(const at::Tensor& x) {
  if (!is_native(x) || (at::GradMode::is_enabled() && x.requires_grad()))
    return x * at::sigmoid(1.702 * x);
  return by_rows(x, {}, [](at::Tensor& y, const at::Tensor& part, const at::Tensor&) {
    y.copy_(part * at::sigmoid(1.702 * part));
  });
}

at::Tensor activate(Activation kind, const at::Tensor& x) {
  switch (kind) {
    case Activation::kSilu:
      return at::silu(x);
    case Activation::kGelu:
      return gelu(x, false);
    case Activation::kGeluTanh:
      return gelu(x, true);
    case Activation::kQuickGelu:
      return quick_gelu(x);
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
