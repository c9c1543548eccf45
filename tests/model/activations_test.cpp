// Activations rounded to bfloat16 in front of products: `--activations bfloat16`.

#include <torch/csrc/autograd/autograd.h>

#include "core/error.h"
#include "formats/model_source.h"
#include "model/kernels/gemm.h"
#include "model/linear.h"
#include "model/load_options.h"
#include "model/lora.h"
#include "tests/catch.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

at::Tensor rounded(const at::Tensor& x) { return x.to(at::kBFloat16).to(at::kDouble); }

Decoder load_rounding(const std::string& name) {
  return Decoder::load(ModelSource::open(folder_of(name)),
                       {.dtype = at::kBFloat16, .device = at::kCPU, .rows = RowForm::kRounded});
}

Linear random_linear(std::int64_t out, std::int64_t in, MatrixLayout layout, bool bias) {
  Linear layer;
  layer.layout = layout;
  layer.weight = (layout == MatrixLayout::kOutIn ? at::randn({out, in}) : at::randn({in, out}))
                     .to(at::kBFloat16);
  if (bias) layer.bias = at::randn({out});
  layer.rows = RowForm::kRounded;
  return layer;
}

/// [in, out] in float64.
at::Tensor wide(const Linear& layer) {
  const at::Tensor weight = layer.weight.to(at::kDouble);
  return layer.layout == MatrixLayout::kOutIn ? weight.t() : weight;
}

}  // namespace

TEST_CASE("activations: a layer multiplies rounded rows, and rounded gradients backwards") {
  at::manual_seed(1);
  for (const MatrixLayout layout : {MatrixLayout::kOutIn, MatrixLayout::kInOut}) {
    for (const std::int64_t rows : {1, 5, 90}) {
      const std::vector<Linear> layers{random_linear(48, 64, layout, true),
                                       random_linear(26, 64, layout, false)};
      INFO(rows << " rows, layout " << static_cast<int>(layout));
      const at::Tensor x = at::randn({rows, 64}).requires_grad_(true);
      const std::vector<at::Tensor> y = apply_linears(layers, x);
      const at::Tensor in = rounded(x.detach());
      CHECK(relative(y[0].detach().to(at::kDouble),
                     at::matmul(in, wide(layers[0])) + layers[0].bias.to(at::kDouble)) <
            tolerance::kOperator);
      CHECK(relative(y[1].detach().to(at::kDouble), at::matmul(in, wide(layers[1]))) <
            tolerance::kOperator);
      const at::Tensor d0 = at::randn({rows, 48}), d1 = at::randn({rows, 26});
      const at::Tensor dx = torch::autograd::grad({y[0], y[1]}, {x}, {d0, d1})[0];
      CHECK(relative(dx.to(at::kDouble), at::matmul(rounded(d0), wide(layers[0]).t()) +
                                             at::matmul(rounded(d1), wide(layers[1]).t())) <
            tolerance::kOperator);
    }
  }
}

TEST_CASE("activations: sums of odd length are not rounded") {
  at::manual_seed(2);
  Linear layer = random_linear(20, 33, MatrixLayout::kOutIn, false);
  const at::Tensor x = at::randn({6, 33});
  const at::Tensor y = apply_linear(layer, x);
  layer.rows = RowForm::kPlain;
  CHECK(same_bits(y, apply_linear(layer, x)));
}

TEST_CASE("activations: a low-rank part is float32 beside the rounded product") {
  at::manual_seed(3);
  Linear layer = random_linear(32, 40, MatrixLayout::kOutIn, false);
  auto state = std::make_shared<LoraSwitch>();
  state->draw = -1;
  auto part = std::make_shared<LowRank>();
  part->module = "part";
  part->a = at::randn({3, 40}).requires_grad_(true);
  part->b = at::randn({32, 3}).requires_grad_(true);
  part->scale = 0.7;
  part->state = state;
  layer.low_rank = part;
  for (const std::int64_t rows : {5, 200}) {  // 200 would make merged weights pay
    INFO(rows << " rows");
    const at::Tensor x = at::randn({rows, 40}).requires_grad_(true);
    const at::Tensor y = apply_linear(layer, x);
    const auto wide_of = [](const at::Tensor& t) { return t.detach().to(at::kDouble); };
    const at::Tensor h = at::matmul(wide_of(x), wide_of(part->a).t());
    CHECK(relative(wide_of(y), at::matmul(rounded(x.detach()), wide(layer)) +
                                   at::matmul(h, wide_of(part->b).t()) * 0.7) <
          tolerance::kOperator);
    const at::Tensor dy = at::randn({rows, 32});
    const auto grads = torch::autograd::grad({y}, {x, part->a, part->b}, {dy});
    const at::Tensor g = at::matmul(wide_of(dy), wide_of(part->b)) * 0.7;
    CHECK(relative(wide_of(grads[0]), at::matmul(rounded(dy), wide(layer).t()) +
                                          at::matmul(g, wide_of(part->a))) < tolerance::kOperator);
    CHECK(relative(wide_of(grads[1]), at::matmul(g.t(), wide_of(x))) < tolerance::kOperator);
    CHECK(relative(wide_of(grads[2]), at::matmul(wide_of(dy).t(), h) * 0.7) < tolerance::kOperator);
  }
}

TEST_CASE("activations: rounding moves a model's logits a little") {
  for (const std::string name : {"plain", "gpt2", "mixtral", "qwen2-tied", "deepseek_v3"}) {
    INFO(name);
    const Decoder exact = load_tiny(name, at::kBFloat16), model = load_rounding(name);
    const at::Tensor ids = random_ids(2, 12);
    const double moved = relative(model.forward(ids), exact.forward(ids));
    CHECK(moved > 1e-5);
    CHECK(moved < tolerance::kRoundedActivations);
    CHECK(exact.activation_name() != model.activation_name());
  }
}

TEST_CASE("activations: rounded rows of every family are alike alone, in batches and in scores") {
  for (const std::string& name : family_names()) {
    INFO(name);
    const Decoder model = load_rounding(name);
    const at::Tensor ids = random_ids(2, 12);
    const at::Tensor logits = model.forward(ids);
    CHECK_FALSE(same_bits(logits, load_tiny(name, at::kBFloat16).forward(ids)));
    CHECK(same_bits(logits.narrow(0, 1, 1).contiguous(),
                    model.forward(ids.narrow(0, 1, 1).contiguous())));
    const at::Tensor hidden = model.run(model.embed(ids), 0, model.spec().layers).flatten(0, 1);
    const at::Tensor expected = at::log_softmax(model.head(hidden).to(at::kDouble), -1);
    std::vector<std::int32_t> targets(24);
    for (std::size_t i = 0; i < targets.size(); ++i)
      targets[i] = static_cast<std::int32_t>(i * 5 % 60);
    const std::vector<TargetScore> scores = model.score_targets(hidden, targets);
    for (std::size_t i = 0; i < targets.size(); ++i) {
      const auto row = static_cast<std::int64_t>(i);
      const double wanted = expected[row][targets[i]].item<double>();
      if (wanted < -1e30) continue;  // never said
      CHECK(std::abs(scores[i].logprob - wanted) < tolerance::kLogProbability);
    }
  }
}

TEST_CASE("activations: bfloat16 needs bfloat16 weights in the memory of the CPU") {
  const auto refused = [](const std::string& message, const auto& body) {
    const std::string error = error_of(body);
    INFO(error);
    CHECK(error.find(message) != std::string::npos);
  };
  const auto resolve = [](const std::string& dtype, const std::string& activations) {
    return load_options({.device = "cpu", .dtype = dtype, .activations = activations});
  };
  refused("--dtype bfloat16", [&] { static_cast<void>(resolve("auto", "bfloat16")); });
  refused("'half'", [&] { static_cast<void>(resolve("bfloat16", "half")); });
  CHECK(resolve("bfloat16", "bfloat16").rows == RowForm::kRounded);
  CHECK(resolve("bfloat16", "auto").rows ==
        (kernels::has_tiles() ? RowForm::kTerms : RowForm::kPlain));
  CHECK(resolve("bfloat16", "float32").rows == RowForm::kPlain);
  const ModelSource source = ModelSource::open(folder_of("plain"));
  for (const LoadOptions& options :
       {LoadOptions{.dtype = at::kFloat, .rows = RowForm::kRounded},
        LoadOptions{.dtype = at::kBFloat16, .offload = true, .rows = RowForm::kRounded},
        LoadOptions{.dtype = at::kBFloat16, .quant = BaseQuant::kNf4, .rows = RowForm::kRounded}})
    refused("activations in bfloat16", [&] { static_cast<void>(Decoder::load(source, options)); });
}
