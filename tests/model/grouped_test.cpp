// Low-rank parts by LibTorch's operators, all factors of one input in one product: against one
// layer after the other.

#include <torch/csrc/autograd/autograd.h>

#include "model/linear.h"
#include "model/linear_grouped.h"
#include "model/lora.h"
#include "tests/catch.h"
#include "tests/model/lora_parts.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

/// A linear layer of each kind over one input of width 24: plain, with bias, without a low-rank
/// part, with something taken off; in both layouts.
std::vector<Linear> layers_of(at::ScalarType type, double dropout) {
  std::vector<Linear> out;
  for (std::int64_t i = 0; i < 4; ++i) {
    const std::int64_t d_out = 8 + 4 * i;
    const bool in_out = i % 2 == 1;
    Linear layer;
    layer.weight = at::randn({in_out ? 24 : d_out, in_out ? d_out : 24}).to(type);
    layer.layout = in_out ? MatrixLayout::kInOut : MatrixLayout::kOutIn;
    if (i < 2) layer.bias = at::randn({d_out}).to(type);
    if (i != 2)
      layer.low_rank = random_part(layer, 1 + i, dropout, 10 + static_cast<std::uint64_t>(i));
    if (i == 3) {
      auto part = std::make_shared<LowRank>(*layer.low_rank);
      part->a0 = at::randn_like(part->a.detach());
      part->b0 = at::randn_like(part->b.detach());
      layer.low_rank = part;
    }
    out.push_back(layer);
  }
  return out;
}

/// One layer by operators in the dtype of x: base, then its low-rank part, then what is taken off.
at::Tensor composed(const Linear& layer, const at::Tensor& x) {
  const at::Tensor y = apply_composed(layer, x);
  if (layer.low_rank == nullptr) return y;
  const LowRank& part = *layer.low_rank;
  const auto like = [&](const at::Tensor& t) { return t.to(x.scalar_type()); };
  const at::Tensor input =
      part.drops() ? x * like(dropout_mask(part, x.numel() / x.size(-1))).view(x.sizes()) : x;
  const auto through = [&](const at::Tensor& a, const at::Tensor& b) {
    return at::linear(at::linear(input, like(a)), like(b)) * part.scale;
  };
  const at::Tensor adapted = y + through(part.a, part.b);
  return part.a0.defined() ? adapted - through(part.a0, part.b0) : adapted;
}

struct Backward {
  std::vector<at::Tensor> y, gradients;
};

/// Values of all, and gradients of x and of the factors, from outputs `used`.
Backward backward(const std::vector<Linear>& layers, const at::Tensor& x,
                  const std::vector<at::Tensor>& y, const std::vector<std::size_t>& used) {
  std::vector<at::Tensor> inputs{x};
  for (const Linear& layer : layers) {
    if (layer.low_rank) inputs.insert(inputs.end(), {layer.low_rank->a, layer.low_rank->b});
  }
  at::Tensor sum = at::zeros({}, at::kDouble);
  for (const std::size_t i : used) {
    const at::Tensor noise =
        at::arange(y[i].numel(), at::kDouble).mul(0.3).cos().view(y[i].sizes());
    sum = sum + (y[i].to(at::kDouble) * noise).sum();
  }
  return {y, torch::autograd::grad({sum}, inputs, {}, std::nullopt, false, true)};
}

void check_grouped(at::ScalarType type, double dropout, const std::vector<std::size_t>& used,
                   double bound) {
  const std::vector<Linear> layers = layers_of(type, dropout);
  const at::Tensor x = at::randn({2, 5, 24}).to(type).requires_grad_(true);
  std::vector<at::Tensor> wanted;
  for (const Linear& layer : layers) wanted.push_back(composed(layer, x));
  const Backward own = backward(layers, x, apply_grouped(layers, x), used);
  const Backward exact = backward(layers, x, wanted, used);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    CHECK(own.y[i].sizes() == wanted[i].sizes());
    CHECK(relative(own.y[i].detach(), wanted[i].detach()) < bound);
  }
  for (std::size_t i = 0; i < exact.gradients.size(); ++i) {
    INFO("gradient " << i);
    REQUIRE(own.gradients[i].defined() == exact.gradients[i].defined());
    if (!exact.gradients[i].defined()) continue;
    CHECK(own.gradients[i].scalar_type() == exact.gradients[i].scalar_type());
    CHECK(relative(own.gradients[i], exact.gradients[i]) < bound);
  }
  const at::NoGradGuard no_grad;
  CHECK(same_bits(apply_grouped(layers, x.detach())[1], own.y[1].detach()));
}

}  // namespace

TEST_CASE(
    "grouped: low-rank products of one input are one layer after the other, forward and back") {
  at::manual_seed(8);
  for (const double dropout : {0.0, 0.4}) {
    INFO("dropout " << dropout);
    // The factors themselves are float32, and so are their gradients.
    check_grouped(at::kDouble, dropout, {0, 1, 2, 3}, tolerance::kOperator);
    check_grouped(at::kDouble, dropout, {1}, tolerance::kOperator);
    check_grouped(at::kFloat, dropout, {0, 1, 2, 3}, tolerance::kOperator);
    check_grouped(at::kBFloat16, dropout, {0, 1, 2, 3}, tolerance::kBFloat16Products);
  }
}

TEST_CASE("grouped: a switched off adapter is the base, and x without a gradient gets none") {
  at::manual_seed(9);
  std::vector<Linear> layers = layers_of(at::kDouble, 0);
  const at::Tensor x = at::randn({3, 24}, at::kDouble);
  const at::Tensor y = apply_grouped(layers, x)[0];
  const at::Tensor slope = torch::autograd::grad({y.sum()}, {layers[0].low_rank->a})[0];
  CHECK(slope.abs().max().item<double>() > 0);
  auto off = std::make_shared<LowRank>(*layers[0].low_rank);
  off->state = std::make_shared<LoraSwitch>(LoraSwitch{.enabled = false});
  layers[0].low_rank = off;
  CHECK(same_bits(apply_grouped(layers, x)[0], apply_composed(layers[0], x)));
}
