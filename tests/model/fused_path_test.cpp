// Whole passes on the way that a GPU goes, with the fused kernels' twins: every family forward,
// low-rank parts and packed rows backward, against our own kernels of the CPU.

#include <torch/csrc/autograd/autograd.h>

#include "model/cuda/fused.h"
#include "model/cuda/launch.h"
#include "model/decoder_pass.h"
#include "model/lora.h"
#include "model/residual.h"
#include "tests/catch.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

TEST_CASE("fused path: logits of every family are those of our kernels of the CPU") {
  std::vector<std::string> names = tiny_names();
  for (const std::string& each : family_names()) names.push_back(each);
  for (const std::string& name : names) {
    INFO(name);
    const Decoder model = widened(load_tiny(name));
    const at::Tensor ids = random_ids(2, 11);
    const at::Tensor own = model.forward(ids);
    const fused::TwinsOnCpu twins;
    CHECK(max_abs(model.forward(ids), own) < tolerance::kTinyLogits);
  }
}

TEST_CASE("fused path: a pass hands positions to the rotation, which takes the operators' place") {
  const Decoder model = widened(load_tiny("plain"));
  const DecoderSpec& spec = model.spec();
  std::vector<RopeCache> ropes;
  for (const RopeSpec& each : spec.ropes) ropes.emplace_back(each, spec.max_positions);
  const at::Tensor hidden = at::randn({1, 7, spec.d_model});
  const Pass packed{.segments = {3, 4}};
  CHECK_FALSE(
      PassState(spec, ropes, hidden, packed).attention(0, {}, at::kCPU).positions.defined());
  const fused::TwinsOnCpu twins;
  PassState state(spec, ropes, hidden, packed);
  AttentionPass pass = state.attention(0, {}, at::kCPU);
  CHECK(same_bits(pass.positions, at::tensor({0, 1, 2, 0, 1, 2, 3}, at::kLong).view({1, 7})));
  // In bfloat16 the operators round cos and sin, too, so that the two are told apart.
  const AttentionSpec& a = spec.attention;
  const at::Tensor q = at::randn({1, 7, a.heads * a.d_head}).to(at::kBFloat16);
  const at::Tensor k = at::randn({1, 7, a.kv_heads * a.d_head}).to(at::kBFloat16);
  const at::Tensor v = at::randn({1, 7, a.kv_heads * a.d_head}).to(at::kBFloat16);
  const at::Tensor own = attend(q, k, v, pass);
  pass.positions = at::Tensor();
  const at::Tensor other = attend(q, k, v, pass);
  CHECK_FALSE(same_bits(own, other));
  CHECK(relative(own, other) < tolerance::kBFloat16Products);
}

TEST_CASE("fused path: the residual stream takes the norm's kernel, forward and backward") {
  Norm norm;
  norm.weight = at::randn({40});
  const at::Tensor x = at::randn({3, 40}).to(at::kBFloat16);
  const fused::TwinsOnCpu twins;
  CHECK(same_bits(branch_off(norm, x).normed.value, fused::rms_norm(norm, x).normed));
  const at::Tensor leaf = x.clone().requires_grad_(true);
  const Branch branch = branch_off(norm, leaf);
  CHECK(branch.normed.value.grad_fn() == branch.stream.grad_fn());
  const at::Tensor plus = torch::autograd::grad({branch.stream.sum()}, {leaf})[0];
  CHECK(same_bits(plus, at::ones_like(x)));
}

TEST_CASE("fused path: a cached pass and packed texts have the logits of whole rows") {
  const Decoder model = widened(load_tiny("plain"));
  const at::Tensor ids = random_ids(1, 12);
  const at::Tensor whole = model.forward(ids);
  const fused::TwinsOnCpu twins;
  KvCache cache(model.spec(), 1, 16, model.options());
  Pass pass{.cache = &cache, .append = true};
  const at::Tensor first = model.forward(ids.narrow(1, 0, 7), pass);
  cache.advance({7});
  const at::Tensor second = model.forward(ids.narrow(1, 7, 5), pass);
  CHECK(max_abs(at::cat({first, second}, 1), whole) < tolerance::kTinyLogits);
  const at::Tensor packed =
      model.forward(at::cat({ids.narrow(1, 0, 4), ids}, 1), {.segments = {4, 12}});
  CHECK(max_abs(packed.narrow(1, 0, 4), whole.narrow(1, 0, 4)) < tolerance::kTinyLogits);
  CHECK(max_abs(packed.narrow(1, 4, 12), whole) < tolerance::kTinyLogits);
}

TEST_CASE("fused path: gradients of low-rank parts are those of our kernels of the CPU") {
  for (const std::string& name : {"plain", "tied"}) {
    const Decoder base = widened(load_tiny(name));
    LoraSettings settings;
    settings.targets = {"all-linear"};
    settings.rank = 3;
    const LoraAdapter adapter(base.spec(), settings, 1);
    for (const auto& part : adapter.parts()) {
      const at::NoGradGuard no_grad;
      part->b.copy_(at::randn_like(part->b) * 0.1);
    }
    const Decoder model = base.with_low_rank(adapter.by_module());
    const at::Tensor ids = random_ids(2, 9);
    const auto gradients = [&] {
      return torch::autograd::grad({at::log_softmax(model.forward(ids), -1).square().sum()},
                                   adapter.parameters());
    };
    const auto own = gradients();
    const fused::TwinsOnCpu twins;
    const auto other = gradients();
    for (std::size_t i = 0; i < own.size(); ++i) {
      INFO(name << ", parameter " << i);
      CHECK(relative(other[i], own[i]) < tolerance::kPassGradient);
    }
  }
}
