// Low-rank parts on embeddings and head: every family's values against merged matrices, gradients
// against the plain formula, DoRA's columns, and what PEFT's files hold of them.
#include <cmath>

#include <torch/csrc/autograd/autograd.h>

#include "core/rng.h"
#include "model/lora.h"
#include "model/lora_targets.h"
#include "tests/catch.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

LoraSettings ends_of(const DecoderSpec& spec, bool dora) {
  LoraSettings out;
  out.targets = {spec.names.embed, spec.names.head};
  out.rank = 3;
  out.alpha = 2;
  out.dora = dora;
  return out;
}

/// Values that change something.
void disturb(LoraAdapter& adapter, const Decoder& base) {
  adapter.prepare(base);
  const at::NoGradGuard no_grad;
  std::uint64_t at = 0;
  for (const at::Tensor& each : adapter.parameters()) {
    at::Tensor noise = at::empty(each.sizes(), at::kFloat);
    Random(++at, "ends")
        .fill_normal(0, {noise.mutable_data_ptr<float>(), static_cast<std::size_t>(noise.numel())});
    each.detach().add_(noise, 0.1);
  }
}

/// The matrix of a part with its change, in float64, as it is stored.
at::Tensor changed(const Decoder& base, const LowRank& part) {
  const auto wide = [](const at::Tensor& t) { return t.detach().to(at::kDouble); };
  const at::Tensor product = at::matmul(wide(part.b), wide(part.a)) * part.scale;
  const at::Tensor stored = wide(base.matrix(part.tensor));
  const at::Tensor rows = (part.embedding ? stored.t() : stored) + product;  // [d_out, d_in]
  const at::Tensor out = part.magnitude.defined()
                             ? rows * (wide(part.magnitude) / rows.norm(2, {1})).unsqueeze(1)
                             : rows;
  return part.embedding ? out.t() : out;
}

}  // namespace

TEST_CASE("ends: every family reads and says as with its changed matrices, tied or not", "[slow]") {
  for (const std::string& name : family_names()) {
    for (const bool dora : {false, true}) {
      INFO(name << ", dora " << dora);
      const Decoder base = load_tiny(name);
      LoraAdapter adapter(base.spec(), ends_of(base.spec(), dora), 1);
      disturb(adapter, base);
      REQUIRE(adapter.parts().size() == 2);
      const LowRank& embedding = *adapter.parts()[0];
      const LowRank& head = *adapter.parts()[1];
      const Decoder model = base.with_low_rank(adapter.by_module());
      const auto with = [&](const LowRank& part) {
        return base.with_weight(part.tensor, changed(base, part).to(at::kFloat).contiguous());
      };
      const at::NoGradGuard no_grad;
      const at::Tensor ids = random_ids(2, 12);
      const at::Tensor read = model.embed(ids);
      CHECK(max_abs(read, base.embed(ids)) > 1e-4);
      CHECK(relative(read, with(embedding).embed(ids)) < tolerance::kSameModel);
      const at::Tensor normed = model.final_norm(model.run(read, 0, base.spec().layers));
      const at::Tensor logits = model.logits(normed);
      CHECK(relative(logits, with(head).logits(normed)) < tolerance::kSameModel);
      const at::Tensor hidden = model.run(read, 0, base.spec().layers).view({-1, read.size(2)});
      const std::vector<std::int32_t> targets(24, 5);
      const at::Tensor logprobs = model.head(hidden).to(at::kDouble).log_softmax(-1);
      const auto scores = model.score_targets(hidden, targets);
      for (std::size_t i = 0; i < scores.size(); ++i)
        CHECK(
            std::abs(scores[i].logprob - logprobs[static_cast<std::int64_t>(i)][5].item<double>()) <
            tolerance::kLogProbability);
      adapter.state().enabled = false;
      CHECK(same_bits(model.forward(ids), base.forward(ids)));
    }
  }
}

TEST_CASE("ends: gradients of embeddings are the formula's, of tokens that come often, too") {
  for (const char* name : {"plain", "gemma3"}) {
    for (const bool dora : {false, true}) {
      INFO(name << ", dora " << dora);
      const Decoder base = load_tiny(name);
      LoraAdapter adapter(base.spec(), ends_of(base.spec(), dora), 1);
      disturb(adapter, base);
      const LowRank& part = *adapter.parts()[0];
      const Decoder model = base.with_low_rank(adapter.by_module());
      const at::Tensor ids = at::tensor({4, 9, 4, 4, 0, 9, 30}, at::kLong).view({1, -1});
      const at::Tensor own = model.embed(ids);
      const at::Tensor slope = at::randn(own.sizes(), at::kFloat);
      // The table made in full, its lengths constant.
      const auto wide = [](const at::Tensor& t) { return t.to(at::kDouble); };
      at::Tensor table =
          wide(base.matrix(part.tensor)) + at::matmul(wide(part.b), wide(part.a)).t() * part.scale;
      if (dora) table = table * (wide(part.magnitude) / table.norm(2, {0}).detach());
      const at::Tensor rows = table.index_select(0, ids.view({-1})).view(own.sizes());
      std::vector<at::Tensor> leaves{part.a, part.b};
      if (dora) leaves.push_back(part.magnitude);
      // What follows the table in this family is linear for these: a scale.
      const auto mine = torch::autograd::grad({(own * slope).sum()}, leaves);
      const auto theirs = torch::autograd::grad(
          {(rows * base.spec().embed_scale * slope.to(at::kDouble)).sum()}, leaves);
      for (std::size_t i = 0; i < mine.size(); ++i)
        CHECK(relative(mine[i], theirs[i]) < tolerance::kOperator);
    }
  }
}

TEST_CASE("ends: targets, names and config are PEFT's; embeddings begin with A at zero") {
  const DecoderSpec spec = load_tiny("plain").spec();
  LoraSettings settings = ends_of(spec, false);
  settings.targets = {"embed_tokens", "lm_head", "q_proj"};
  settings.layers = {1};  // of the blocks
  const auto targets = lora_targets(spec, settings);
  REQUIRE(targets.size() == 3);
  CHECK(targets.front().module.name == "model.embed_tokens");
  CHECK(targets.back().module.name == "lm_head");
  settings.layers.clear();
  CHECK(lora_config(spec, settings, lora_targets(spec, settings))["target_modules"] ==
        Json({"embed_tokens", "lm_head", "q_proj"}));
  LoraSettings matched = settings;
  matched.targets = {R"(lm_head|.*\.embed_tokens)"};
  matched.expression = true;
  CHECK(lora_targets(spec, matched).size() == 2);
  settings.dropout = 0.5;
  const LoraAdapter adapter(spec, settings, 1);
  const LowRank& part = *adapter.parts()[0];
  CHECK(part.a.size(1) == spec.vocab);
  CHECK(part.a.abs().max().item<double>() == 0);
  CHECK(part.b.std().item<double>() > 0.5);
  CHECK(part.dropout == 0);
  const DecoderSpec gpt2 = load_tiny("gpt2").spec();
  const LoraAdapter ends(gpt2, ends_of(gpt2, false), 1);
  CHECK(ends.file_name(*ends.parts()[0]) == "transformer.wte");
  CHECK(ends.file_name(*ends.parts()[1]) == "lm_head");
}
