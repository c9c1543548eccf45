// DoRA, PiSSA, OLoRA: values and gradients by the plain formulas, where they begin, and dropout.
#include <torch/csrc/autograd/autograd.h>

#include <ATen/core/grad_mode.h>

#include "core/rng.h"
#include "model/linear.h"
#include "model/lora.h"
#include "model/magnitude.h"
#include "tests/catch.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

at::Tensor random_matrix(std::int64_t rows, std::int64_t columns, std::uint64_t seed) {
  at::Tensor out = at::empty({rows, columns}, at::kFloat);
  Random(seed, "variants")
      .fill_normal(0, {out.mutable_data_ptr<float>(), static_cast<std::size_t>(out.numel())});
  return out;
}

Linear dora_layer(double dropout, bool bias, bool in_out = false) {
  Linear layer{random_matrix(24, 40, 1), bias ? random_matrix(1, 24, 2).view({-1}) : at::Tensor(),
               MatrixLayout::kOutIn, nullptr, nullptr};
  const at::Tensor rows = layer.weight;
  if (in_out) layer.weight = rows.t().contiguous();
  if (in_out) layer.layout = MatrixLayout::kInOut;
  auto state = std::make_shared<LoraSwitch>();
  state->draw = dropout > 0 ? 2 : -1;
  auto part = std::make_shared<LowRank>();
  part->module = "part";
  part->a = random_matrix(3, 40, 3).requires_grad_(true);
  part->b = random_matrix(24, 3, 4).requires_grad_(true);
  part->magnitude = random_matrix(1, 24, 5).view({-1}).abs().requires_grad_(true);
  part->base_norms = squared_row_norms(rows);
  part->scale = 0.7;
  part->dropout = dropout;
  part->state = state;
  layer.low_rank = part;
  return layer;
}

/// In float64, with B A in full; dropout as PEFT has it.
at::Tensor plain(const Linear& layer, const at::Tensor& x) {
  const auto wide = [](const at::Tensor& t) { return t.to(at::kDouble); };
  const LowRank& part = *layer.low_rank;
  const at::Tensor weight =
      wide(layer.layout == MatrixLayout::kOutIn ? layer.weight : layer.weight.t());
  const at::Tensor delta = at::matmul(wide(part.b), wide(part.a)) * part.scale;
  const at::Tensor length = (weight + delta).detach().square().sum(1).sqrt();
  const at::Tensor factor = wide(part.magnitude) / length;
  const at::Tensor kept = part.drops() ? wide(x) * wide(dropout_mask(part, x.size(0))) : wide(x);
  at::Tensor y = at::matmul(wide(x), weight.t()) + (factor - 1) * at::matmul(kept, weight.t()) +
                 factor * at::matmul(kept, delta.t());
  return layer.bias.defined() ? y + wide(layer.bias) : y;
}

}  // namespace

TEST_CASE("dora: values and gradients are the formula's, merged, added and dropped", "[slow]") {
  for (const std::int64_t rows : {5, 200}) {
    for (const double dropout : {0.0, 0.3}) {
      for (const bool bias : {false, true}) {
        INFO(rows << " rows, dropout " << dropout);
        // Turned where it has a bias, as GPT-2's.
        const Linear layer = dora_layer(dropout, bias, bias);
        const at::Tensor x = random_matrix(rows, 40, 7).requires_grad_(true);
        const at::Tensor mine = apply_linear(layer, x), wanted = plain(layer, x);
        CHECK(relative(mine, wanted) < 4 * tolerance::kOperator);
        const at::Tensor slopes = random_matrix(rows, 24, 8);
        const LowRank& part = *layer.low_rank;
        const std::vector<at::Tensor> inputs{x, part.a, part.b, part.magnitude};
        const auto own = torch::autograd::grad({(mine * slopes).sum()}, inputs);
        const auto exact = torch::autograd::grad({(wanted * slopes).sum()}, inputs);
        for (std::size_t i = 0; i < own.size(); ++i) {
          INFO("input " << i);
          CHECK(relative(own[i], exact[i]) < 4 * tolerance::kOperator);
        }
      }
    }
  }
}

TEST_CASE("dora: lengths by parts are the lengths of W + scale B A") {
  const Linear layer = dora_layer(0, false);
  const LowRank& part = *layer.low_rank;
  const at::Tensor whole =
      layer.weight.to(at::kDouble) +
      at::matmul(part.b.detach().to(at::kDouble), part.a.detach().to(at::kDouble)) * part.scale;
  CHECK(relative(weight_norms(layer), whole.square().sum(1).sqrt()) < 1e-6);
}

TEST_CASE("variants: an adapter begins as the model it is put on") {
  const at::Tensor ids = random_ids(2, 20);
  for (const char* name : {"plain", "bias", "tied", "gpt2"}) {
    const Decoder base = load_tiny(name);
    const at::NoGradGuard no_grad;
    const at::Tensor wanted = base.forward(ids);
    for (const LoraInit init : {LoraInit::kPissa, LoraInit::kOlora, LoraInit::kKaiming}) {
      LoraSettings settings;
      settings.rank = 4;
      settings.init = init;
      settings.dora = init == LoraInit::kKaiming;
      LoraAdapter adapter(base.spec(), settings, 3);
      adapter.prepare(base);
      CHECK(relative(base.with_low_rank(adapter.by_module()).forward(ids), wanted) < 1e-5);
      if (init == LoraInit::kKaiming) continue;
      CHECK(adapter.parts()[0]->b.abs().max().item<double>() > 0);
    }
  }
}

TEST_CASE("variants: pissa takes the largest singular values, also by projection") {
  const Decoder base = load_tiny("plain");
  for (const std::int64_t iterations : {0, 30}) {
    LoraSettings settings;
    settings.rank = 4;
    settings.init = LoraInit::kPissa;
    settings.pissa_iterations = iterations;
    LoraAdapter adapter(base.spec(), settings, 3);
    adapter.prepare(base);
    for (const auto& part : adapter.parts()) {
      const at::NoGradGuard no_grad;
      const at::Tensor w = base.matrix(part->module + ".weight");
      const at::Tensor rest = w - at::matmul(part->b, part->a) * part->scale;
      const at::Tensor s = at::linalg_svdvals(w);
      // What is left has the smaller ones.
      CHECK(std::abs(at::linalg_svdvals(rest)[0].item<double>() - s[4].item<double>()) <
            1e-3 * s[0].item<double>());
    }
  }
}

TEST_CASE("variants: settings that do not go together are refused") {
  LoraSettings both;
  both.dora = true;
  both.init = LoraInit::kPissa;
  const auto message = error_of([&] { (void)LoraAdapter(load_tiny("plain").spec(), both, 1); });
  CHECK(message.find("found both") != std::string::npos);
}
