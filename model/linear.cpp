#include "model/linear.h"

#include <algorithm>
#include <array>

#include <torch/csrc/autograd/custom_function.h>

#include "model/cuda/launch.h"
#include "model/linear_adapted.h"
#include "model/products.h"

namespace lancet {
namespace {

/// Whether its products with rows of this width are of pairs.
bool takes_pairs(const Linear& layer, std::int64_t width) {
  return layer.rows == RowForm::kRounded && layer.d_in() % 2 == 0 && width % 2 == 0;
}

/// Rows in front of their products: as they are, and rounded where the first layer asks for it.
class Rows {
 public:
  Rows(const float* rows, std::int64_t count, std::int64_t width)
      : rows_(rows), count_(count), width_(width) {}

  [[nodiscard]] const float* plain() const { return rows_; }
  [[nodiscard]] std::int64_t count() const { return count_; }
  [[nodiscard]] std::int64_t width() const { return width_; }
  [[nodiscard]] const at::BFloat16* rounded() {
    if (!rounded_.defined()) rounded_ = round_rows(rows_, count_ * width_);
    return rounded_.const_data_ptr<at::BFloat16>();
  }

 private:
  const float* rows_;
  std::int64_t count_, width_;
  at::Tensor rounded_;
};

/// With the stored matrix of a layer: its transpose (a sum along its rows), or itself.
Product product(const Linear& layer, bool transposed, Rows& in, float* out, bool accumulate) {
  const std::int64_t rows = in.count();
  if (takes_pairs(layer, in.width()))
    return transposed ? times_transposed(in.rounded(), rows, layer.weight, out, accumulate)
                      : times(in.rounded(), rows, layer.weight, out, accumulate);
  const bool tiles = layer.rows == RowForm::kTerms;
  if (layer.packed != nullptr)
    return transposed ? times_transposed(in.plain(), rows, *layer.packed, out, accumulate, tiles)
                      : times(in.plain(), rows, *layer.packed, out, accumulate, tiles);
  return transposed ? times_transposed(in.plain(), rows, layer.weight, out, accumulate, tiles)
                    : times(in.plain(), rows, layer.weight, out, accumulate, tiles);
}

void fill_rows(const at::Tensor& bias, std::int64_t rows, float* out) {
  const auto* from = bias.const_data_ptr<float>();
  const std::int64_t width = bias.numel();
  for (std::int64_t r = 0; r < rows; ++r) std::copy_n(from, width, out + r * width);
}

/// Pages of matrices in files that a product has read need not stay.
void let_go(const Linear& layer) {
  if (layer.packed != nullptr) layer.packed->release();
}

std::vector<std::int64_t> with_last(const at::Tensor& x, std::int64_t last) {
  auto shape = x.sizes().vec();
  shape.back() = last;
  return shape;
}

std::vector<at::Tensor> forward_native(std::span<const Linear> layers, const at::Tensor& x) {
  std::vector<at::Tensor> out;
  std::vector<float*> pointers;
  for (const Linear& layer : layers) {
    out.push_back(at::empty(with_last(x, layer.d_out()), x.options()));
    pointers.push_back(out.back().mutable_data_ptr<float>());
  }
  run_linears(layers, x.const_data_ptr<float>(), x.numel() / x.size(-1), pointers);
  return out;
}

struct Kept : torch::CustomClassHolder {
  std::vector<Linear> layers;
};

/// Saves the weights only. Gradients of outputs that nobody used arrive undefined.
struct LinearsFunction : torch::autograd::Function<LinearsFunction> {
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* ctx,
                                                const at::Tensor& x,
                                                const std::vector<Linear>& layers) {
    const at::AutoDispatchBelowAutograd below;
    auto kept = c10::make_intrusive<Kept>();
    for (const Linear& layer : layers)
      kept->layers.push_back({layer.weight, {}, layer.layout, nullptr, layer.packed, layer.rows});
    ctx->saved_data["kept"] = c10::IValue::make_capsule(std::move(kept));
    ctx->set_materialize_grads(false);
    return forward_native(layers, x);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    const at::AutoDispatchBelowAutograd below;
    const auto capsule = ctx->saved_data["kept"].toCapsule();
    const std::vector<Linear>& layers = static_cast<const Kept&>(*capsule).layers;
    torch::autograd::variable_list dy;
    std::vector<const float*> pointers;
    at::Tensor shape_of;
    for (const at::Tensor& grad : grads) {
      dy.push_back(grad.defined() ? grad.contiguous() : grad);
      pointers.push_back(grad.defined() ? dy.back().const_data_ptr<float>() : nullptr);
      if (grad.defined()) shape_of = grad;
    }
    if (!shape_of.defined()) return {at::Tensor(), at::Tensor()};
    at::Tensor dx = at::empty(with_last(shape_of, layers[0].d_in()), shape_of.options());
    run_linears_backward(layers, pointers, dx.numel() / dx.size(-1), dx.mutable_data_ptr<float>());
    return {dx, at::Tensor()};
  }
};

}  // namespace

at::Tensor apply_composed(const Linear& layer, const at::Tensor& x) {
  const at::Tensor weight = layer.layout == MatrixLayout::kOutIn ? layer.weight : layer.weight.t();
  return at::linear(x, weight, layer.bias.defined() ? std::optional(layer.bias) : std::nullopt);
}

bool is_native(const at::Tensor& activation) {
  return activation.is_cpu() && activation.scalar_type() == at::kFloat && !fused::twins_on_cpu();
}

void run_linears(std::span<const Linear> layers, const float* x, std::int64_t rows,
                 std::span<float* const> y) {
  std::vector<Product> products;
  Rows in(x, rows, layers.empty() ? 0 : layers[0].d_in());
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const Linear& layer = layers[i];
    const bool bias = layer.bias.defined();
    if (bias) fill_rows(layer.bias, rows, y[i]);
    products.push_back(product(layer, layer.layout == MatrixLayout::kOutIn, in, y[i], bias));
  }
  run_products(products);
  std::ranges::for_each(layers, let_go);
}

void run_linears_backward(std::span<const Linear> layers, std::span<const float* const> dy,
                          std::int64_t rows, float* dx) {
  bool accumulate = false;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (dy[i] == nullptr) continue;
    Rows in(dy[i], rows, layers[i].d_out());
    const std::array products{
        product(layers[i], layers[i].layout == MatrixLayout::kInOut, in, dx, accumulate)};
    run_products(products);
    let_go(layers[i]);
    accumulate = true;
  }
}

std::vector<at::Tensor> apply_linears(std::span<const Linear> layers, const Derived& from) {
  if (std::ranges::any_of(layers, is_adapted)) return apply_adapted(layers, from);
  const at::Tensor& x = from.value;  // of which nothing is kept
  if (!is_native(x)) {
    std::vector<at::Tensor> out;
    for (const Linear& layer : layers) out.push_back(apply_composed(layer, x));
    return out;
  }
  const at::Tensor input = x.contiguous();
  if (at::GradMode::is_enabled() && input.requires_grad()) {
    return LinearsFunction::apply(input, std::vector<Linear>(layers.begin(), layers.end()));
  }
  return forward_native(layers, input);
}

at::Tensor apply_linear(const Linear& layer, const Derived& x) {
  return apply_linears({&layer, 1}, x)[0];
}

}  // namespace lancet
