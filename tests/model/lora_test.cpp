// Low-rank parts on linear layers: values and gradients against the plain formula, targets, masks,
// and segments of one row.

#include <cmath>

#include <torch/csrc/autograd/autograd.h>

#include "core/parallel.h"
#include "model/linear.h"
#include "model/lora.h"
#include "model/lora_targets.h"
#include "model/runtime.h"
#include "tests/catch.h"
#include "tests/model/lora_parts.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

/// y by the formula of model/lora.h, with LibTorch's operators in float64.
at::Tensor plain(const Linear& layer, const at::Tensor& x) {
  const auto wide = [](const at::Tensor& t) { return t.to(at::kDouble); };
  const at::Tensor weight = wide(layer.weight);
  at::Tensor y = at::matmul(wide(x), layer.layout == MatrixLayout::kOutIn ? weight.t() : weight);
  if (layer.bias.defined()) y = y + wide(layer.bias);
  if (layer.low_rank == nullptr) return y;
  const LowRank& part = *layer.low_rank;
  at::Tensor input = wide(x);
  if (part.drops()) input = input * wide(dropout_mask(part, x.size(0)));
  return y + at::matmul(at::matmul(input, wide(part.a).t()), wide(part.b).t()) * part.scale;
}

/// A model whose adapter has values that are not zero.
Decoder adapted(const Decoder& base, const LoraAdapter& adapter) {
  for (const auto& part : adapter.parts()) {
    const c10::AutoGradMode off(false);
    part->b.copy_(random_matrix(part->b.size(0), part->b.size(1), 11) * 0.1);
  }
  return base.with_low_rank(adapter.by_module());
}

LoraSettings settings_of(std::vector<std::string> targets) {
  LoraSettings out;
  out.targets = std::move(targets);
  out.rank = 3;
  return out;
}

}  // namespace

TEST_CASE("lora: values and gradients are the formula's, merged, added and dropped", "[slow]") {
  // Rows on both sides of where a merged weight pays; both layouts; two layers of one input.
  for (const std::int64_t rows : {5, 200}) {
    for (const bool in_out : {false, true}) {
      for (const double dropout : {0.0, 0.3}) {
        INFO(rows << " rows, in_out " << in_out << ", dropout " << dropout);
        std::vector<Linear> layers;
        for (std::uint64_t i = 0; i < 3; ++i) {
          const std::int64_t out = 24 + 8 * static_cast<std::int64_t>(i);
          Linear layer;
          layer.weight = random_matrix(in_out ? 40 : out, in_out ? out : 40, 20 + i);
          layer.layout = in_out ? MatrixLayout::kInOut : MatrixLayout::kOutIn;
          if (i == 1) layer.bias = random_matrix(1, out, 50).view({-1});
          if (i != 2) layer.low_rank = random_part(layer, i == 1 ? 1 : 3, dropout, 30 + 2 * i);
          layers.push_back(layer);
        }
        const at::Tensor x = random_matrix(rows, 40, 7).requires_grad_(true);
        const auto mine = apply_linears(layers, x);
        std::vector<at::Tensor> wanted, inputs{x}, slopes;
        for (const Linear& layer : layers) {
          wanted.push_back(plain(layer, x));
          slopes.push_back(random_matrix(rows, layer.d_out(), 90));
          if (layer.low_rank) inputs.insert(inputs.end(), {layer.low_rank->a, layer.low_rank->b});
        }
        at::Tensor sum = at::zeros({}, at::kFloat);
        at::Tensor wide_sum = at::zeros({}, at::kDouble);
        for (std::size_t i = 0; i < mine.size(); ++i) {
          CHECK(relative(mine[i].to(at::kDouble), wanted[i]) < tolerance::kOperator);
          sum = sum + (mine[i] * slopes[i]).sum();
          wide_sum = wide_sum + (wanted[i] * slopes[i]).sum();
        }
        const auto own = torch::autograd::grad({sum}, inputs);
        const auto exact = torch::autograd::grad({wide_sum}, inputs);
        for (std::size_t i = 0; i < own.size(); ++i)
          CHECK(relative(own[i].to(at::kDouble), exact[i].to(at::kDouble)) < tolerance::kOperator);
        const c10::AutoGradMode off(false);
        CHECK(relative(apply_linears(layers, x.detach())[1].to(at::kDouble), wanted[1]) <
              tolerance::kOperator);
      }
    }
  }
}

TEST_CASE("lora: a bfloat16 base is the widened one") {
  Linear narrow;
  narrow.weight = random_matrix(32, 40, 1).to(at::kBFloat16);
  narrow.low_rank = random_part(narrow, 3, 0, 2);
  Linear wide = narrow;
  wide.weight = narrow.weight.to(at::kFloat);
  for (const std::int64_t rows : {5, 200}) {
    const at::Tensor x = random_matrix(rows, 40, 3);
    CHECK(same_bits(apply_linear(narrow, x), apply_linear(wide, x)));
  }
}

TEST_CASE("lora: masks depend on seed, module and draw alone, and keep their share") {
  Linear layer;
  layer.weight = random_matrix(16, 100, 1);
  const auto part = random_part(layer, 2, 0.25, 9);
  const at::Tensor mask = dropout_mask(*part, 400);
  CHECK(std::fabs(mask.mean().item<double>() - 1) < 0.02);
  CHECK(at::logical_or(mask == 0, mask == 4.0F / 3).all().item<bool>());
  {
    const OneThread one;
    CHECK(same_bits(mask, dropout_mask(*part, 400)));
  }
  // Rows that are there keep their mask when more follow.
  CHECK(same_bits(mask.narrow(0, 0, 100).contiguous(), dropout_mask(*part, 100)));
  LoraSwitch other = *part->state;
  other.draw = 4;
  LowRank moved = *part;
  moved.state = std::make_shared<LoraSwitch>(other);
  CHECK_FALSE(same_bits(mask, dropout_mask(moved, 400)));
}

TEST_CASE("lora: every family runs adapted as with its merged weights, and switched off as it was",
          "[slow]") {
  for (const std::string& name : family_names()) {
    INFO(name);
    const Decoder base = load_tiny(name);
    const LoraAdapter adapter(base.spec(), settings_of({"all-linear"}), 1);
    const Decoder model = adapted(base, adapter);
    Decoder merged = base;
    for (const auto& part : adapter.parts()) {
      const at::Tensor& weight = base.weight(part->module + ".weight");
      const c10::AutoGradMode off(false);
      const at::Tensor product = at::matmul(part->b, part->a) * part->scale;
      const bool out_in = base.spec().layout == MatrixLayout::kOutIn;
      merged =
          merged.with_weight(part->module + ".weight", weight + (out_in ? product : product.t()));
    }
    const at::Tensor ids = random_ids(1, 24);
    const c10::AutoGradMode off(false);
    const at::Tensor before = base.forward(ids);
    const at::Tensor after = model.forward(ids);
    CHECK(max_abs(after, before) > 1e-3);
    CHECK(relative(after, merged.forward(ids)) < 10 * tolerance::kSameModel);
    adapter.state().enabled = false;
    CHECK(same_bits(model.forward(ids), before));
  }
}

TEST_CASE("lora: segments of one row are the texts by themselves, in every family", "[slow]") {
  for (const std::string& name : family_names()) {
    INFO(name);
    const Decoder base = load_tiny(name);
    const LoraAdapter adapter(base.spec(), settings_of({"all-linear"}), 1);
    const Decoder model = adapted(base, adapter);
    const std::vector<std::int64_t> lengths{7, 1, 20, 12};
    const at::Tensor ids = random_ids(1, 40);
    Pass pass;
    pass.segments = lengths;
    const std::int64_t layers = base.spec().layers;
    const at::Tensor together = model.run(model.embed(ids), 0, layers, pass);
    std::vector<at::Tensor> parts;
    std::int64_t begin = 0;
    for (const std::int64_t length : lengths) {
      parts.push_back(model.run(model.embed(ids.narrow(1, begin, length).contiguous()), 0, layers));
      begin += length;
    }
    const at::Tensor apart = at::cat(parts, 1);
    CHECK(relative(together.detach(), apart.detach()) < tolerance::kSameModel);
    // Gradients of the factors, too.
    const at::Tensor slope = at::randn(together.sizes(), at::kFloat);
    const auto own = torch::autograd::grad({(together * slope).sum()}, adapter.parameters(), {},
                                           std::nullopt, false, true);
    const auto each = torch::autograd::grad({(apart * slope).sum()}, adapter.parameters(), {},
                                            std::nullopt, false, true);
    for (std::size_t i = 0; i < own.size(); ++i) {
      REQUIRE(own[i].defined() == each[i].defined());
      if (own[i].defined()) CHECK(relative(own[i], each[i]) < 10 * tolerance::kSameModel);
    }
  }
}

TEST_CASE("lora: gradients through a whole model are those of finite differences") {
  const Decoder base = load_tiny("plain");
  LoraSettings settings = settings_of({"all-linear"});
  settings.dropout = 0.2;
  settings.alpha = 3;  // a scale of 1: differences of a stronger part are not linear
  const LoraAdapter adapter(base.spec(), settings, 1);
  const Decoder model = adapted(base, adapter);
  adapter.state().draw = 2;
  const at::Tensor ids = random_ids(1, 30);
  Pass pass;
  pass.segments = {18, 12};
  const auto value = [&] {
    const at::Tensor logits = model.head(model.run(model.embed(ids), 0, 2, pass));
    return at::logsumexp(logits.to(at::kDouble), {-1}).sum();
  };
  value().backward();
  for (const std::size_t which : {std::size_t{0}, std::size_t{5}, std::size_t{12}}) {
    for (const at::Tensor& factor : {adapter.parts()[which]->a, adapter.parts()[which]->b}) {
      const c10::AutoGradMode off(false);
      auto* at = factor.mutable_data_ptr<float>() + 4;
      const float kept = *at;
      *at = kept + 1e-2F;
      const double up = value().item<double>();
      *at = kept - 1e-2F;
      const double down = value().item<double>();
      *at = kept;
      const double slope = factor.grad().view({-1})[4].item<double>();
      CHECK(std::fabs((up - down) / 2e-2 - slope) <
            tolerance::kFiniteDifference * (1 + std::fabs(slope)));
    }
  }
}

TEST_CASE("lora: targets by name, by expression, by layer; ranks and scales by pattern") {
  const DecoderSpec spec = load_tiny("plain").spec();
  const auto names = [&](const LoraSettings& s) {
    std::vector<std::string> out;
    for (const LoraTarget& each : lora_targets(spec, s)) out.push_back(each.module.name);
    return out;
  };
  CHECK(names(settings_of({"all-linear"})).size() == 14);
  CHECK(names(settings_of({"q_proj", "mlp.up_proj"})).size() == 4);
  LoraSettings one = settings_of({"q_proj", "down_proj"});
  one.layers = {1};
  CHECK(names(one) == std::vector<std::string>{"model.layers.1.self_attn.q_proj",
                                               "model.layers.1.mlp.down_proj"});
  LoraSettings matched = settings_of({R"(.*\.0\.mlp\.(up|gate)_proj)"});
  matched.expression = true;
  CHECK(names(matched).size() == 2);
  matched.rank_pattern = {{"up_proj", 5}};
  matched.alpha_pattern = {{R"(layers\.0\.mlp\.gate_proj)", 9}};
  matched.rank_stabilised = true;
  matched.alpha = 6;
  const auto targets = lora_targets(spec, matched);
  CHECK(targets[0].rank == 3);
  CHECK(targets[0].scale == Approx(9 / std::sqrt(3.0)));
  CHECK(targets[1].rank == 5);
  CHECK(targets[1].scale == Approx(6 / std::sqrt(5.0)));
  const Json config =
      lora_config(spec, settings_of({"q_proj"}), lora_targets(spec, settings_of({"q_proj"})));
  CHECK(config["target_modules"] == Json({"q_proj"}));
  CHECK(lora_config(spec, one, lora_targets(spec, one))["target_modules"].size() == 2);
}

TEST_CASE("lora: what cannot be meant is refused by name") {
  const DecoderSpec spec = load_tiny("plain").spec();
  const auto refusal = [&](const LoraSettings& s) {
    return error_of([&] { (void)lora_targets(spec, s); });
  };
  CHECK(refusal(settings_of({"q_prj"})).find("q_prj") != std::string::npos);
  LoraSettings begun = settings_of({"embed_tokens", "q_proj"});
  begun.init = LoraInit::kPissa;
  CHECK(refusal(begun).find("embed_tokens") != std::string::npos);
  CHECK_FALSE(refusal(settings_of({})).empty());
  LoraSettings s = settings_of({"q_proj"});
  s.layers = {7};
  CHECK(refusal(s).find('7') != std::string::npos);
  s = settings_of({"q_proj"});
  s.rank = 0;
  CHECK(refusal(s).find("rank") != std::string::npos);
  s = settings_of({"q_proj"});
  s.dropout = 1;
  CHECK(refusal(s).find("dropout") != std::string::npos);
  s = settings_of({"q_proj"});
  s.rank_pattern = {{"up_proj", 4}};
  CHECK(refusal(s).find("up_proj") != std::string::npos);
  s = settings_of({"(q_proj"});
  s.expression = true;
  CHECK(refusal(s).find("expression") != std::string::npos);
}
