// What editors rely on, in every family: blocks one after the other, hooks, the down projection by
// name and layout, gradients.

#include <algorithm>
#include <cmath>
#include <string>

#include <torch/csrc/autograd/autograd.h>

#include "core/error.h"
#include "tests/catch.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

at::Tensor some_ids(const std::string& name) {
  return golden(name, "ids").slice(1, 0, 20).contiguous();
}

/// The first layer with one MLP, or -1.
std::int64_t dense_layer(const DecoderSpec& spec) {
  for (std::int64_t i = 0; i < spec.layers; ++i) {
    const LayerSpec& layer = spec.layer[static_cast<std::size_t>(i)];
    if (layer.mlp && !layer.moe) return i;
  }
  return -1;
}

}  // namespace

TEST_CASE("families: running blocks 0 to k and then the rest is running all", "[slow]") {
  for (const std::string& name : family_names()) {
    INFO(name);
    const Decoder model = load_tiny(name);
    const at::Tensor start = model.embed(some_ids(name));
    const std::int64_t layers = model.spec().layers;
    const at::Tensor whole = model.run(start, 0, layers);
    for (std::int64_t k = 0; k <= layers; ++k)
      CHECK(same_bits(model.run(model.run(start, 0, k), k, layers), whole));
  }
}

TEST_CASE("families: the MLP's output is the down projection of its key, in the declared layout",
          "[slow]") {
  std::int64_t checked = 0;
  for (const std::string& name : family_names()) {
    const Decoder model = load_tiny(name);
    const std::int64_t layer = dense_layer(model.spec());
    if (layer < 0) continue;
    INFO(name);
    ++checked;
    const MatrixRef down = model.mlp_down(layer);
    const at::Tensor weight = model.weight(down);
    const at::Tensor changed = weight + 0.1 * at::randn_like(weight);
    at::Tensor key;
    Pass pass;
    pass.hook = [&](std::int64_t at, Place place, const at::Tensor& value) {
      if (at != layer) return value;
      if (place == Place::kMlpKey) key = value;
      if (place != Place::kMlpOutput) return value;
      const at::Tensor change = changed - weight;
      return value + at::matmul(key, down.layout == MatrixLayout::kInOut ? change : change.t());
    };
    const at::Tensor start = model.embed(some_ids(name));
    const Decoder edited = model.with_weight(down.name, changed);
    const at::Tensor expected = edited.run(start, 0, model.spec().layers);
    const at::Tensor plain = model.run(start, 0, model.spec().layers);
    CHECK(relative(model.run(start, 0, model.spec().layers, pass), expected) <
          tolerance::kSameModel);
    CHECK(relative(plain, expected) > 1e-3);
  }
  CHECK(checked > 40);
}

TEST_CASE("families: a layer of experts has a down projection for each, and none for all") {
  std::int64_t checked = 0;
  for (const std::string& name : family_names()) {
    const Decoder model = load_tiny(name);
    const DecoderSpec& spec = model.spec();
    for (std::int64_t layer = 0; layer < spec.layers; ++layer) {
      if (!spec.layer[static_cast<std::size_t>(layer)].moe) continue;
      INFO(name << " layer " << layer);
      ++checked;
      CHECK_THAT(error_of([&] { static_cast<void>(model.mlp_down(layer)); }),
                 Catch::Contains(std::to_string(spec.moe.experts) + " experts"));
      CHECK_THAT(error_of([&] { static_cast<void>(model.mlp_down(layer, spec.moe.experts)); }),
                 Catch::Contains("expert"));
      const MatrixRef down = model.mlp_down(layer, 1);
      const bool out_in = down.layout == MatrixLayout::kOutIn;
      const at::Tensor weight = model.weight(down);
      CHECK(weight.size(out_in ? 0 : 1) == spec.d_model);
      CHECK(weight.size(out_in ? 1 : 0) == spec.moe.d_ff);
      CHECK(down.d_out == spec.d_model);
      CHECK(down.d_in == spec.moe.d_ff);
      CHECK((down.expert == 1) == (spec.moe.layout == ExpertLayout::kStacked));
    }
  }
  CHECK(checked > 15);
}

TEST_CASE("families: a layer without an MLP has no down projection, and says whose it is") {
  std::int64_t checked = 0;
  for (const std::string& name : family_names()) {
    const Decoder model = load_tiny(name);
    for (std::int64_t layer = 0; layer < model.spec().layers; ++layer) {
      if (model.spec().layer[static_cast<std::size_t>(layer)].mlp) continue;
      ++checked;
      CHECK_THAT(error_of([&] { static_cast<void>(model.mlp_down(layer)); }),
                 Catch::Contains("model_type " + model.spec().model_type));
    }
  }
  CHECK(checked > 4);
}

TEST_CASE("families: hooks that return the value change nothing and see each layer's output last") {
  for (const std::string& name : family_names()) {
    INFO(name);
    const Decoder model = load_tiny(name);
    const at::Tensor start = model.embed(some_ids(name));
    std::int64_t attention = 0, written = 0, outputs = 0;
    at::Tensor last;
    Pass pass;
    pass.hook = [&](std::int64_t, Place place, const at::Tensor& value) {
      attention += place == Place::kAttentionOutput ? 1 : 0;
      written += place == Place::kMlpOutput ? 1 : 0;
      if (place == Place::kBlockOutput) {
        ++outputs;
        last = value;
      }
      return value;
    };
    const std::int64_t layers = model.spec().layers;
    const auto with_mlp = std::ranges::count_if(model.spec().layer, &LayerSpec::mlp);
    const at::Tensor out = model.run(start, 0, layers, pass);
    CHECK(same_bits(out, model.run(start, 0, layers)));
    CHECK(same_bits(out, last));
    CHECK(attention == layers);
    CHECK(written == with_mlp);
    CHECK(outputs == layers);
  }
}

TEST_CASE(
    "families: the gradient of a delta behind the first MLP, or mixer, equals finite differences",
    "[slow]") {
  for (const std::string& name : family_names()) {
    INFO(name);
    const Decoder model = load_tiny(name).with_masked_ids({});  // whose logits have no slope
    const at::Tensor start = model.embed(some_ids(name));
    const at::Tensor direction = at::randn({2, 20, model.spec().vocab});
    const Place behind = model.spec().layer[0].mlp ? Place::kMlpOutput : Place::kAttentionOutput;
    const auto loss = [&](const at::Tensor& delta) {
      Pass pass;
      pass.hook = [&](std::int64_t layer, Place place, const at::Tensor& value) {
        return layer == 0 && place == behind ? value + delta : value;
      };
      const at::Tensor logits = model.head(model.run(start, 0, model.spec().layers, pass));
      return (at::log_softmax(logits.to(at::kDouble), -1) * direction).sum();
    };
    const at::Tensor delta = at::zeros({model.spec().d_model}).requires_grad_(true);
    loss(delta).backward();
    const at::Tensor gradient = delta.grad();
    REQUIRE(gradient.defined());
    const at::NoGradGuard no_grad;
    const at::Tensor way = gradient / gradient.norm();
    // Experts and ReLU have kinks, so the step is small; state spaces alone have none, and round
    // more.
    const double step = model.spec().layer[0].mlp ? 2e-3 : 8e-3;
    const auto rise = [&](double by) {
      return loss(way * by).item<double>() - loss(way * -by).item<double>();
    };
    const double numeric = (8 * rise(step) - rise(2 * step)) / (12 * step);
    const double exact = gradient.norm().item<double>();
    CHECK(std::abs(numeric - exact) < tolerance::kFiniteDifference * exact);
  }
}

TEST_CASE("families: segments of one row stand behind the rows of a cache, gradients too",
          "[slow]") {
  for (const std::string& name : family_names()) {
    INFO(name);
    const Decoder model = load_tiny(name);
    const std::int64_t layers = model.spec().layers;
    const at::Tensor first = some_ids(name).narrow(0, 0, 1);
    const at::Tensor ids = at::cat({first, first.flip({1}), first.roll({7}, {1})});
    const std::vector<std::int64_t> before{3, 0, 9}, tails{4, 6, 1};
    KvCache cache(model.spec(), 3, 9, model.options());
    {
      const c10::AutoGradMode off(false);
      Pass prompt;
      prompt.cache = &cache;
      prompt.append = true;
      prompt.lengths = {3, 1, 9};
      (void)model.run(model.embed(ids.narrow(1, 0, 9).contiguous()), 0, layers, prompt);
      cache.advance(prompt.lengths);
      cache.truncate(before);
    }
    const at::Tensor start = model.embed(ids.narrow(1, 10, 6).contiguous()).detach();
    const auto packed_of = [&](const at::Tensor& padded) {
      std::vector<at::Tensor> parts;
      for (std::size_t b = 0; b < tails.size(); ++b)
        parts.push_back(padded[static_cast<std::int64_t>(b)].narrow(0, 0, tails[b]));
      return at::cat(parts).unsqueeze(0);
    };
    const at::Tensor rows = start.clone().requires_grad_(true);
    Pass padded;
    padded.cache = &cache;
    padded.lengths = tails;
    const at::Tensor apart = packed_of(model.run(rows, 0, layers, padded));
    const at::Tensor row = packed_of(start).clone().requires_grad_(true);
    Pass packed;
    packed.cache = &cache;
    packed.segments = tails;
    const at::Tensor together = model.run(row, 0, layers, packed);
    CHECK(relative(together.detach(), apart.detach()) < tolerance::kSameModel);
    const at::Tensor slope = at::randn(together.sizes(), at::kFloat);
    const auto own = torch::autograd::grad({(together * slope).sum()}, {row});
    const auto each = torch::autograd::grad({(apart * slope).sum()}, {rows});
    CHECK(relative(own[0], packed_of(each[0])) < 10 * tolerance::kSameModel);
  }
}

TEST_CASE("families: the positions that are wanted are those of the whole, gradients too",
          "[slow]") {
  for (const std::string& name : family_names()) {
    INFO(name);
    const Decoder model = load_tiny(name);
    const std::int64_t layers = model.spec().layers;
    const at::Tensor first = some_ids(name).narrow(0, 0, 1);
    const at::Tensor start = model.embed(at::cat({first, first.flip({1})})).detach();
    Pass pass;
    pass.wanted = at::tensor({0, 5, 19, 20, 38}, at::kLong);
    const at::Tensor all = start.clone().requires_grad_(true),
                     some = start.clone().requires_grad_(true);
    const at::Tensor expected =
        model.run(all, 0, layers).flatten(0, 1).index_select(0, pass.wanted).unsqueeze(0);
    const at::Tensor found = model.run(some, 0, layers, pass);
    CHECK(relative(found.detach(), expected.detach()) < tolerance::kSameModel);
    const at::Tensor slope = at::randn(found.sizes(), at::kFloat);
    const auto own = torch::autograd::grad({(found * slope).sum()}, {some});
    const auto each = torch::autograd::grad({(expected * slope).sum()}, {all});
    CHECK(relative(own[0], each[0]) < 10 * tolerance::kSameModel);
    CHECK(same_bits(model.run(start, 1, 1, pass)[0],
                    start.flatten(0, 1).index_select(0, pass.wanted)));
  }
}
