// Where many rows share a weight and nothing is dropped, the product is taken with W + scale B A,
// made anew for each pass: rank / rows of the work, and neither outputs nor input gradients are
// read and written once more. With h = drop(x) A^T and g = scale dy B:
//   dA = g^T drop(x),  dB = scale dy^T h,  dx = dy W + mask * (g A)  (or dy (W + scale B A)).

#include "model/linear_adapted.h"

#include <algorithm>
#include <array>

#include <torch/csrc/autograd/custom_function.h>

#include "core/interrupt.h"
#include "model/intraop.h"
#include "model/lora.h"
#include "model/magnitude.h"
#include "model/products.h"

namespace lancet {
namespace {

constexpr std::int64_t kMergeShare = 3;  ///< between the 2 of arithmetic and the 4 of memory
constexpr std::int64_t kGrain = 16384;   ///< elements of one parallel chunk

at::Tensor empty(std::int64_t rows, std::int64_t columns) {
  return at::empty({rows, columns}, at::kFloat);
}

/// Whether a merged weight pays. Making it twice reads and writes four times the matrix, what it
/// spares is outputs and input gradients that are read and written once more.
bool merges(const Linear& layer, std::int64_t rows) {
  if (!is_adapted(layer) || layer.packed != nullptr || layer.low_rank->drops()) return false;
  const std::int64_t in = layer.d_in(), out = layer.d_out();
  return rows * (in + out) >= kMergeShare * in * out;
}

/// The layer with weight W + scale B A, float32.
Linear merged(const Linear& layer) {
  const LowRank& part = *layer.low_rank;
  const at::Tensor weight = empty(layer.weight.size(0), layer.weight.size(1));
  auto* to = weight.mutable_data_ptr<float>();
  const auto widen = [&](const auto* from) {
    intraop_chunks(weight.numel(), kGrain, [=](std::int64_t begin, std::int64_t end) {
      std::copy(from + begin, from + end, to + begin);
    });
  };
  if (layer.weight.scalar_type() == at::kBFloat16) {
    widen(layer.weight.const_data_ptr<at::BFloat16>());
  } else {
    widen(layer.weight.const_data_ptr<float>());
  }
  const bool out_in = layer.layout == MatrixLayout::kOutIn;
  const at::Tensor left = out_in ? scaled(part.all_b(), part.scale) : turned(part.all_a());
  const at::Tensor right = out_in ? part.all_a() : turned(part.all_b(), part.scale);
  const std::array products{times(left.const_data_ptr<float>(), left.size(0), right, to, true)};
  run_products(products);
  return {weight, layer.bias, layer.layout, nullptr};
}

/// Which layers take part with which weight in products over `rows` rows.
std::vector<Linear> effective(std::span<const Linear> layers, std::int64_t rows) {
  std::vector<Linear> out;
  for (const Linear& layer : layers) out.push_back(merges(layer, rows) ? merged(layer) : layer);
  return out;
}

/// drop(x) of x [rows, d_in].
at::Tensor dropped(const LowRank& part, const at::Tensor& x) {
  return part.drops() ? x * dropout_mask(part, x.size(0)) : x;
}

/// y of each layer for x [rows, d_in], and h of each adapted one (undefined for the others, and
/// where nobody needs it).
struct Forward {
  std::vector<at::Tensor> y, h;
};

Forward forward_rows(std::span<const Linear> layers, const at::Tensor& x, bool keep) {
  const std::int64_t rows = x.size(0);
  Forward out;
  std::vector<float*> pointers;
  for (const Linear& layer : layers) {
    out.y.push_back(empty(rows, layer.d_out()));
    pointers.push_back(out.y.back().mutable_data_ptr<float>());
  }
  run_linears(effective(layers, rows), x.const_data_ptr<float>(), rows, pointers);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    out.h.emplace_back();
    const bool merges_here = merges(layers[i], rows);
    if (!is_adapted(layers[i]) || (merges_here && !keep)) continue;
    const LowRank& part = *layers[i].low_rank;
    const at::Tensor input = dropped(part, x);
    const at::Tensor a = part.all_a();
    out.h.back() = empty(rows, a.size(0));
    std::array products{times_transposed(input.const_data_ptr<float>(), rows, a,
                                         out.h.back().mutable_data_ptr<float>())};
    run_products(products);
    if (merges_here) continue;
    const at::Tensor b = turned(part.all_b(), part.scale);
    products[0] = times(out.h.back().const_data_ptr<float>(), rows, b, pointers[i], true);
    run_products(products);
  }
  return out;
}

/// Gradients of one layer's factors; adds to dx what passes through the factors where the weight is
/// not merged (dx undefined: nobody asks for it).
std::pair<at::Tensor, at::Tensor> factor_gradients(const LowRank& part, const at::Tensor& x,
                                                   const at::Tensor& h, const at::Tensor& dy,
                                                   const at::Tensor& dx) {
  const std::int64_t rows = x.size(0);
  const std::int64_t rank = part.a.size(0);
  const at::Tensor a = part.all_a();
  const at::Tensor b = scaled(part.all_b(), part.scale);
  const at::Tensor g = empty(rows, a.size(0));
  std::array products{times(dy.const_data_ptr<float>(), rows, b, g.mutable_data_ptr<float>())};
  run_products(products);
  const at::Tensor input = dropped(part, x);
  const at::Tensor g_turned = turned(g);
  const at::Tensor h_turned = turned(h, part.scale);
  // What is taken off (a0, b0) stands behind the first `rank` rows and learns nothing.
  const at::Tensor da = empty(rank, x.size(1));
  const at::Tensor db = empty(rank, dy.size(1));
  const std::array both{
      times(g_turned.const_data_ptr<float>(), rank, input, da.mutable_data_ptr<float>()),
      times(h_turned.const_data_ptr<float>(), rank, dy, db.mutable_data_ptr<float>())};
  run_products(both);
  if (dx.defined()) {
    const bool drops = part.drops();
    const at::Tensor through = drops ? at::empty_like(dx) : dx;
    products[0] =
        times(g.const_data_ptr<float>(), rows, a, through.mutable_data_ptr<float>(), !drops);
    run_products(products);
    if (drops) dx.add_(through.mul_(dropout_mask(part, rows)));
  }
  return {da, turned(db)};
}

struct Kept : torch::CustomClassHolder {
  std::vector<Linear> layers;
};

std::vector<std::int64_t> with_last(const at::Tensor& x, std::int64_t last) {
  auto shape = x.sizes().vec();
  shape.back() = last;
  return shape;
}

/// Inputs: x, the layers, A and B of each adapted layer in order.
struct AdaptedFunction : torch::autograd::Function<AdaptedFunction> {
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* ctx,
                                                const at::Tensor& x,
                                                const std::vector<Linear>& layers, at::TensorList) {
    const at::AutoDispatchBelowAutograd below;
    const at::Tensor rows = x.view({-1, x.size(-1)});
    Forward out = forward_rows(layers, rows, true);
    for (at::Tensor& y : out.y) y = y.view(with_last(x, y.size(-1)));
    torch::autograd::variable_list saved{x};
    for (const at::Tensor& h : out.h) {
      if (h.defined()) saved.push_back(h);
    }
    ctx->save_for_backward(saved);
    auto kept = c10::make_intrusive<Kept>();
    kept->layers = layers;
    ctx->saved_data["kept"] = c10::IValue::make_capsule(std::move(kept));
    ctx->set_materialize_grads(false);
    return out.y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    const at::AutoDispatchBelowAutograd below;
    check_interrupted();
    const auto saved = ctx->get_saved_variables();
    const auto capsule = ctx->saved_data["kept"].toCapsule();
    const std::vector<Linear>& layers = static_cast<const Kept&>(*capsule).layers;
    const at::Tensor x = saved[0].view({-1, saved[0].size(-1)});
    torch::autograd::variable_list dy;
    std::vector<const float*> pointers;
    for (const at::Tensor& grad : grads) {
      dy.push_back(grad.defined() ? grad.contiguous().view({x.size(0), -1}) : grad);
      pointers.push_back(grad.defined() ? dy.back().const_data_ptr<float>() : nullptr);
    }
    at::Tensor dx;
    const bool any = std::ranges::any_of(grads, [](const at::Tensor& g) { return g.defined(); });
    if (ctx->needs_input_grad(0) && any) {
      dx = at::empty_like(x);
      run_linears_backward(effective(layers, x.size(0)), pointers, x.size(0),
                           dx.mutable_data_ptr<float>());
    }
    torch::autograd::variable_list out{dx.defined() ? dx.view(saved[0].sizes()) : dx, at::Tensor()};
    std::size_t h = 1;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      if (!is_adapted(layers[i])) continue;
      const at::Tensor& own_h = saved[h++];
      std::pair<at::Tensor, at::Tensor> factors;
      if (dy[i].defined()) {
        const bool through = dx.defined() && !merges(layers[i], x.size(0));
        factors =
            factor_gradients(*layers[i].low_rank, x, own_h, dy[i], through ? dx : at::Tensor());
      }
      out.push_back(factors.first);
      out.push_back(factors.second);
    }
    return out;
  }
};

/// By LibTorch's operators, in the dtype of x.
at::Tensor adapted_composed(const Linear& layer, const at::Tensor& x) {
  const at::Tensor y = apply_composed(layer, x);
  if (!is_adapted(layer)) return y;
  const LowRank& part = *layer.low_rank;
  at::Tensor input = x;
  if (part.drops()) {
    const at::Tensor mask = dropout_mask(part, x.numel() / x.size(-1)).view(x.sizes());
    input = x * mask.to(x.device(), x.scalar_type());
  }
  const auto like_x = [&](const at::Tensor& factor) {
    return factor.to(x.device(), x.scalar_type());
  };
  const auto through = [&](const at::Tensor& a, const at::Tensor& b) {
    return at::linear(at::linear(input, like_x(a)), like_x(b)) * part.scale;
  };
  const at::Tensor adapted = y + through(part.a, part.b);
  return part.a0.defined() ? adapted - through(part.a0, part.b0) : adapted;
}

/// apply_adapted without regard to magnitudes.
std::vector<at::Tensor> apply_low_rank(std::span<const Linear> layers, const at::Tensor& x) {
  if (!is_native(x)) {
    std::vector<at::Tensor> out;
    for (const Linear& layer : layers) out.push_back(adapted_composed(layer, x));
    return out;
  }
  const at::Tensor input = x.contiguous();
  std::vector<at::Tensor> factors;
  bool grad = input.requires_grad();
  for (const Linear& layer : layers) {
    if (!is_adapted(layer)) continue;
    for (const at::Tensor& factor : {layer.low_rank->a, layer.low_rank->b}) {
      factors.push_back(factor);
      grad = grad || factor.requires_grad();
    }
  }
  if (at::GradMode::is_enabled() && grad) {
    return AdaptedFunction::apply(input, std::vector<Linear>(layers.begin(), layers.end()),
                                  at::TensorList(factors));
  }
  std::vector<at::Tensor> out = forward_rows(layers, input.view({-1, input.size(-1)}), false).y;
  for (at::Tensor& y : out) y = y.view(with_last(input, y.size(-1)));
  return out;
}

bool is_scaled(const Linear& layer) {
  return is_adapted(layer) && layer.low_rank->magnitude.defined();
}

/// DoRA. Dropout acts on what is scaled, as in PEFT: y = W (x - drop(x)) + bias + m / c (W + s B A)
/// drop(x).
at::Tensor apply_scaled_dropped(const Linear& layer, const at::Tensor& x) {
  const LowRank& part = *layer.low_rank;
  const at::Tensor mask = dropout_mask(part, x.numel() / x.size(-1)).view(x.sizes());
  const at::Tensor kept = x * mask.to(x.device(), x.scalar_type());
  auto undropped = std::make_shared<LowRank>(part);
  undropped->dropout = 0;
  Linear inner{layer.weight, {}, layer.layout, undropped, layer.packed};
  const at::Tensor through =
      scale_rows(apply_low_rank({&inner, 1}, kept)[0], part, weight_norms(layer), {});
  return apply_linear({layer.weight, layer.bias, layer.layout, nullptr, layer.packed}, x - kept) +
         through;
}

}  // namespace

at::Tensor turned(const at::Tensor& x, double scale) {
  const std::int64_t rows = x.size(0), columns = x.size(1);
  const at::Tensor out = empty(columns, rows);
  const auto* from = x.const_data_ptr<float>();
  auto* to = out.mutable_data_ptr<float>();
  const auto by = static_cast<float>(scale);
  intraop_chunks(rows, kGrain / columns + 1, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t c = 0; c < columns; ++c) {
      for (std::int64_t r = begin; r < end; ++r) to[c * rows + r] = from[r * columns + c] * by;
    }
  });
  return out;
}

at::Tensor scaled(const at::Tensor& x, double scale) {
  const at::Tensor out = empty(x.size(0), x.size(1));
  const auto* from = x.const_data_ptr<float>();
  auto* to = out.mutable_data_ptr<float>();
  const auto by = static_cast<float>(scale);
  for (std::int64_t i = 0; i < x.numel(); ++i) to[i] = from[i] * by;
  return out;
}

bool is_adapted(const Linear& layer) {
  return layer.low_rank != nullptr && layer.low_rank->state->enabled;
}

std::vector<at::Tensor> apply_adapted(std::span<const Linear> layers, const at::Tensor& x) {
  if (std::ranges::none_of(layers, is_scaled)) return apply_low_rank(layers, x);
  std::vector<at::Tensor> out(layers.size());
  std::vector<Linear> together;  // those whose input is the same
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (is_scaled(layers[i]) && layers[i].low_rank->drops()) {
      out[i] = apply_scaled_dropped(layers[i], x);
      continue;
    }
    together.push_back(layers[i]);
    if (is_scaled(layers[i])) together.back().bias = at::Tensor();
    places.push_back(i);
  }
  if (together.empty()) return out;
  const std::vector<at::Tensor> y = apply_low_rank(together, x);
  for (std::size_t i = 0; i < y.size(); ++i) {
    const Linear& layer = layers[places[i]];
    out[places[i]] = is_scaled(layer)
                         ? scale_rows(y[i], *layer.low_rank, weight_norms(layer), layer.bias)
                         : y[i];
  }
  return out;
}

}  // namespace lancet
