#include "model/linear_adapted.h"

#include <algorithm>

#include <torch/csrc/autograd/custom_function.h>

#include "core/interrupt.h"
#include "model/linear_grouped.h"
#include "model/lora.h"
#include "model/low_rank_products.h"
#include "model/magnitude.h"

namespace lancet {
namespace {

struct Kept : torch::CustomClassHolder {
  Kept(std::vector<Linear> all, KeptInput in) : layers(std::move(all)), input(std::move(in)) {}
  std::vector<Linear> layers;
  KeptInput input;
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
                                                const std::vector<Linear>& layers,
                                                const Derived& from, at::TensorList) {
    const at::AutoDispatchBelowAutograd below;
    const at::Tensor rows = x.view({-1, x.size(-1)});
    LowRankForward out = low_rank_forward(layers, rows, true);
    for (at::Tensor& y : out.y) y = y.view(with_last(x, y.size(-1)));
    auto kept = c10::make_intrusive<Kept>(layers, KeptInput(from));
    torch::autograd::variable_list saved = kept->input.to_save();
    kept->input.saved();
    for (const at::Tensor& h : out.h) {
      if (h.defined()) saved.push_back(h);
    }
    ctx->save_for_backward(saved);
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
    const auto& kept = static_cast<const Kept&>(*capsule);
    const std::vector<Linear>& layers = kept.layers;
    const at::Tensor input = kept.input.value(saved);
    const at::Tensor x = input.view({-1, input.size(-1)});
    std::vector<at::Tensor> dy, h(layers.size());
    std::size_t next = kept.input.count();
    for (std::size_t i = 0; i < layers.size(); ++i) {
      dy.push_back(grads[i].defined() ? grads[i].contiguous().view({x.size(0), -1}) : grads[i]);
      if (is_adapted(layers[i])) h[i] = saved[next++];
    }
    const bool any = std::ranges::any_of(grads, [](const at::Tensor& g) { return g.defined(); });
    const at::Tensor dx = any && ctx->needs_input_grad(0) ? at::empty_like(x) : at::Tensor();
    const std::vector<FactorGradients> factors = low_rank_backward(layers, x, h, dy, dx);
    torch::autograd::variable_list out{dx.defined() ? dx.view(input.sizes()) : dx, at::Tensor(),
                                       at::Tensor()};
    for (std::size_t i = 0; i < layers.size(); ++i) {
      if (!is_adapted(layers[i])) continue;
      out.push_back(factors[i].da);
      out.push_back(factors[i].db);
    }
    return out;
  }
};

/// apply_adapted without regard to magnitudes.
std::vector<at::Tensor> apply_low_rank(std::span<const Linear> layers, const Derived& x) {
  if (!is_native(x.value)) return apply_grouped(layers, x);
  const at::Tensor input = x.value.contiguous();
  const std::vector<at::Tensor> factors = factors_of(layers);
  if (learns(input, factors)) {
    return AdaptedFunction::apply(input, std::vector<Linear>(layers.begin(), layers.end()),
                                  x.sources.empty() ? Derived(input) : x, at::TensorList(factors));
  }
  std::vector<at::Tensor> out = low_rank_forward(layers, input.view({-1, input.size(-1)}), false).y;
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
  Linear inner{layer.weight, {}, layer.layout, undropped, layer.packed, layer.rows};
  const at::Tensor through =
      scale_rows(apply_low_rank({&inner, 1}, kept)[0], part, weight_norms(layer), {});
  return apply_linear({layer.weight, layer.bias, layer.layout, nullptr, layer.packed, layer.rows},
                      x - kept) +
         through;
}

}  // namespace

bool is_adapted(const Linear& layer) {
  return layer.low_rank != nullptr && layer.low_rank->state->enabled;
}

std::vector<at::Tensor> factors_of(std::span<const Linear> layers) {
  std::vector<at::Tensor> out;
  for (const Linear& layer : layers) {
    if (!is_adapted(layer)) continue;
    out.push_back(layer.low_rank->a);
    out.push_back(layer.low_rank->b);
  }
  return out;
}

bool learns(const at::Tensor& input, std::span<const at::Tensor> factors) {
  const auto wants = [](const at::Tensor& each) { return each.requires_grad(); };
  return at::GradMode::is_enabled() && (wants(input) || std::ranges::any_of(factors, wants));
}

std::vector<at::Tensor> apply_adapted(std::span<const Linear> layers, const Derived& x) {
  if (std::ranges::none_of(layers, is_scaled)) return apply_low_rank(layers, x);
  std::vector<at::Tensor> out(layers.size());
  std::vector<Linear> together;  // those whose input is the same
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (is_scaled(layers[i]) && layers[i].low_rank->drops()) {
      out[i] = apply_scaled_dropped(layers[i], x.value);
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
