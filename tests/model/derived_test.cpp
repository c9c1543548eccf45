// What is made again in a backward pass instead of being kept.

#include <vector>

#include <torch/csrc/autograd/autograd.h>

#include "model/cuda/launch.h"
#include "model/linear.h"
#include "model/mlp.h"
#include "model/residual.h"
#include "tests/catch.h"
#include "tests/model/lora_parts.h"
#include "tests/model/tiny.h"

using namespace lancet;
using namespace lancet::test;

namespace {

Linear adapted_layer() {
  Linear layer;
  layer.weight = random_matrix(24, 40, 1);
  layer.low_rank = random_part(layer, 3, 0, 2);
  return layer;
}

/// Gradients of the sources and the factors through an adapted layer that reads x.
std::vector<at::Tensor> gradients(const Linear& layer, const Derived& x,
                                  std::vector<at::Tensor> inputs) {
  inputs.insert(inputs.end(), {layer.low_rank->a, layer.low_rank->b});
  const at::Tensor y = apply_linear(layer, x);
  return torch::autograd::grad({y}, inputs, {random_matrix(y.size(0), y.size(1), 9)}, true);
}

void check_made_again(const Derived& x, const std::vector<at::Tensor>& inputs) {
  const Linear layer = adapted_layer();
  REQUIRE(x.sources.size() == inputs.size());
  for (const at::Tensor& source : x.sources) CHECK_FALSE(source.requires_grad());
  {
    const at::NoGradGuard plain;
    CHECK(same_bits(x.make(x.sources), x.value));
  }
  const auto made = gradients(layer, x, inputs);
  const auto kept = gradients(layer, Derived(x.value), inputs);
  for (std::size_t i = 0; i < made.size(); ++i) CHECK(same_bits(made[i], kept[i]));
}

void check_both() {
  const at::Tensor gate = random_matrix(7, 40, 3).requires_grad_(true);
  const at::Tensor up = random_matrix(7, 40, 4).requires_grad_(true);
  check_made_again(apply_activation(Activation::kSilu, gate, up), {gate, up});
  Norm norm;
  norm.weight = random_matrix(1, 40, 5).view({-1});
  const at::Tensor stream = random_matrix(7, 40, 6).requires_grad_(true);
  check_made_again(branch_off(norm, stream).normed, {stream});
}

}  // namespace

TEST_CASE("derived: a norm and an activation made again give the gradients of kept ones") {
  check_both();
  const fused::TwinsOnCpu twins;  // and the way of a GPU
  check_both();
}

TEST_CASE("derived: what nobody will ask for again has no sources") {
  const at::Tensor gate = random_matrix(7, 40, 3), up = random_matrix(7, 40, 4);
  CHECK(apply_activation(Activation::kSilu, gate, up).sources.empty());  // constant
  const at::Tensor leaf = gate.clone().requires_grad_(true);
  CHECK(apply_activation(Activation::kGelu, leaf, up).sources.empty());  // kept by LibTorch
  const at::NoGradGuard plain;
  CHECK(apply_activation(Activation::kSilu, leaf, up).sources.empty());
}
