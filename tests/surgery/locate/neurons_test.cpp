#include "surgery/locate/neurons.h"

#include <set>

#include "surgery/locate/lens.h"
#include "tests/catch.h"
#include "tests/surgery/locate/tiny_locate.h"
#include "tests/surgery/tolerances.h"

using namespace lancet;

namespace {

/// p(target) with the keys of one layer at the last prompt token replaced by `key`.
double with_key(const Decoder& model, const LocatePrompt& prompt, std::int64_t layer,
                const at::Tensor& key) {
  c10::AutoGradMode no_gradient(false);
  Pass pass;
  pass.hook = [&](std::int64_t at, Place place, const at::Tensor& value) {
    if (at != layer || place != Place::kMlpKey) return value;
    at::Tensor out = value.clone();
    out[0][prompt.answer_position()].copy_(key);
    return out;
  };
  const at::Tensor hidden =
      model.run(model.embed(prompt.input().unsqueeze(0)), 0, model.spec().layers, pass);
  return target_probabilities(model, hidden, prompt.target)[0].item<double>();
}

at::Tensor key_of(const Decoder& model, const LocatePrompt& prompt, std::int64_t layer) {
  c10::AutoGradMode no_gradient(false);
  at::Tensor out;
  Pass pass;
  pass.hook = [&](std::int64_t at, Place place, const at::Tensor& value) {
    if (at == layer && place == Place::kMlpKey) out = value[0][prompt.answer_position()].clone();
    return value;
  };
  (void)model.run(model.embed(prompt.input().unsqueeze(0)), 0, model.spec().layers, pass);
  return out;
}

}  // namespace

TEST_CASE("neurons: attributions equal central differences along the path, unit by unit") {
  const auto loaded = tiny_locate::load(31);
  constexpr std::int64_t kSteps = 4;
  for (const std::size_t which : {0U, 3U, 4U}) {
    const LocatePrompt prompt = tiny_locate::prompt_of(loaded, tiny_locate::facts()[which]);
    const at::Tensor found = attribute_units(loaded.model, prompt, kSteps);
    const double size = found.abs().max().item<double>();
    REQUIRE(size > 1e-3 * probability_with(loaded.model, prompt, {}, 1));
    for (std::int64_t layer = 0; layer < 3; ++layer) {
      const at::Tensor key = key_of(loaded.model, prompt, layer);
      for (std::int64_t unit = 0; unit < key.size(0); unit += 5) {
        double expected = 0;
        for (std::int64_t s = 1; s <= kSteps; ++s) {
          const at::Tensor at = key * (static_cast<double>(s) / kSteps);
          constexpr float kStep = 0.05F;
          at::Tensor up = at.clone(), down = at.clone();
          up[unit] += kStep;
          down[unit] -= kStep;
          expected += (with_key(loaded.model, prompt, layer, up) -
                       with_key(loaded.model, prompt, layer, down)) /
                      (2 * kStep) / kSteps;
        }
        expected *= key[unit].item<double>();
        CAPTURE(prompt.text, layer, unit);
        CHECK(std::abs(found[layer][unit].item<double>() - expected) <
              tolerance::kDifferences * size);
      }
    }
  }
}

TEST_CASE("neurons: with many steps the attributions of a layer add up to what it does") {
  const auto loaded = tiny_locate::load(32);
  const LocatePrompt prompt = tiny_locate::prompt_of(loaded, tiny_locate::facts()[0]);
  const at::Tensor found = attribute_units(loaded.model, prompt, 400);
  for (std::int64_t layer = 0; layer < 3; ++layer) {
    const at::Tensor key = key_of(loaded.model, prompt, layer);
    const double change = with_key(loaded.model, prompt, layer, key) -
                          with_key(loaded.model, prompt, layer, at::zeros_like(key));
    CHECK(found[layer].sum().item<double>() == Approx(change).margin(2e-3));
  }
}

TEST_CASE("neurons: small batches give the same attributions") {
  const auto loaded = tiny_locate::load(33);
  const LocatePrompt prompt = tiny_locate::prompt_of(loaded, tiny_locate::facts()[4]);
  const at::Tensor whole = attribute_units(loaded.model, prompt, 5);
  const at::Tensor parts = attribute_units(loaded.model, prompt, 5, 1);
  CHECK((whole - parts).abs().max().item<double>() < tolerance::kForward);
}

TEST_CASE("neurons: units are kept that enough prompts agree on, largest first") {
  const at::Tensor a = at::tensor({10.0, 3.0, 1.0, 0.0, 0.0, -5.0}, at::kDouble).view({2, 3});
  const at::Tensor b = at::tensor({0.0, 4.0, 0.0, 8.0, 0.0, 0.0}, at::kDouble).view({2, 3});
  const std::vector<at::Tensor> both{a, b};
  const auto agreed = refine_units(both, {.threshold = 0.2, .share = 1, .most = 5});
  REQUIRE(agreed.size() == 1);
  CHECK(agreed[0].layer == 0);
  CHECK(agreed[0].unit == 1);
  CHECK(agreed[0].prompts == 2);
  CHECK(agreed[0].attribution == Approx(3.5));
  const auto any = refine_units(both, {.threshold = 0.2, .share = 0.5, .most = 2});
  REQUIRE(any.size() == 2);
  CHECK(any[0].attribution == Approx(5));
  CHECK(any[1].attribution == Approx(4));
  CHECK(refine_units(std::vector<at::Tensor>{at::zeros({2, 2}, at::kDouble)}, {}).empty());
}

TEST_CASE("neurons: putting units to zero and doubling them changes exactly these keys") {
  const auto loaded = tiny_locate::load(34);
  const LocatePrompt prompt = tiny_locate::prompt_of(loaded, tiny_locate::facts()[1]);
  const std::vector<Neuron> units{{1, 4, 0, 0}, {1, 7, 0, 0}};
  for (const double factor : {0.0, 2.0}) {
    at::Tensor key = key_of(loaded.model, prompt, 1);
    key[4] *= factor;
    key[7] *= factor;
    CHECK(probability_with(loaded.model, prompt, units, factor) ==
          Approx(with_key(loaded.model, prompt, 1, key)).epsilon(1e-6));
  }
  const auto others = random_units(loaded.model, units, 3);
  REQUIRE(others.size() == 2);
  std::set<std::int64_t> distinct{4, 7};
  for (const Neuron& unit : others) {
    CHECK(unit.layer == 1);
    CHECK(distinct.insert(unit.unit).second);
  }
}

TEST_CASE("lens: the last layer is the model's own prediction, layer 0 the bare embedding") {
  const auto loaded = tiny_locate::load(35);
  const LocatePrompt prompt = tiny_locate::prompt_of(loaded, tiny_locate::facts()[0]);
  const Lens lens = read_lens(loaded.model, prompt, 4);
  c10::AutoGradMode no_gradient(false);
  const at::Tensor ids = prompt.input().unsqueeze(0);
  const auto expect = [&](const at::Tensor& hidden, std::int64_t layer) {
    const at::Tensor p = at::softmax(loaded.model.head(hidden).to(at::kDouble), -1)[0];
    for (std::int64_t token = 0; token < prompt.size(); ++token) {
      const auto& top = lens.top[static_cast<std::size_t>(token)][static_cast<std::size_t>(layer)];
      REQUIRE(top.size() == 4);
      CHECK(top[0].id == p[token].argmax().item<std::int64_t>());
      CHECK(top[0].probability == Approx(p[token].max().item<double>()).epsilon(1e-5));
      CHECK(top[0].probability >= top[1].probability);
      const double own = p[token][prompt.target[0]].item<double>();
      CHECK(lens.probability[token][layer].item<double>() == Approx(own).epsilon(1e-5));
      CHECK(lens.rank[token][layer].item<std::int64_t>() ==
            1 + p[token].gt(own).sum().item<std::int64_t>());
      const double bits = -(p[token] * p[token].log2()).sum().item<double>();
      CHECK(lens.entropy[token][layer].item<double>() == Approx(bits).epsilon(1e-5));
    }
  };
  const at::Tensor embedded = loaded.model.embed(ids);
  expect(embedded, 0);
  expect(loaded.model.run(embedded, 0, 2), 2);
  expect(loaded.model.run(embedded, 0, 3), 3);
}
