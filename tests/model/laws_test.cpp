// What must hold for any decoder: caches, batches, hooks, split passes, gradients.

#include <cmath>

#include <torch/csrc/autograd/autograd.h>

#include "core/parallel.h"
#include "model/generate.h"
#include "model/runtime.h"
#include "tests/catch.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

at::Tensor hidden_of(const Decoder& model, const at::Tensor& ids) {
  return model.run(model.embed(ids), 0, model.spec().layers);
}

/// Runs [first, last) of the tokens with the cache, appending.
at::Tensor append_tokens(const Decoder& model, const at::Tensor& ids, KvCache& cache,
                         std::int64_t first, std::int64_t last) {
  const at::Tensor part = ids.slice(1, first, last).contiguous();
  const at::Tensor out = model.run(model.embed(part), 0, model.spec().layers,
                                   {.cache = &cache, .append = true, .lengths = {}, .hook = {}});
  cache.advance(std::vector<std::int64_t>(static_cast<std::size_t>(ids.size(0)), last - first));
  return out;
}

}  // namespace

TEST_CASE("model: a text in pieces through a cache has the hidden states of the whole text") {
  for (const std::string name : {"plain", "bias", "one_kv_head", "head_dim", "yarn"}) {
    INFO(name);
    const Decoder model = load_tiny(name);
    const at::Tensor ids = random_ids(2, 40);
    const at::Tensor whole = hidden_of(model, ids);
    KvCache cache(model.spec(), 2, 8, model.options());  // grows on the way
    std::vector<at::Tensor> parts;
    std::int64_t first = 0;
    for (const std::int64_t last : {7, 8, 9, 30, 31, 40}) {
      parts.push_back(append_tokens(model, ids, cache, first, last));
      first = last;
    }
    CHECK(relative(at::cat(parts, 1), whole) < tolerance::kSameModel);
    CHECK(cache.lengths() == std::vector<std::int64_t>{40, 40});
  }
}

TEST_CASE("model: a row has the same bits alone, in a batch, and beside padding") {
  const Decoder model = load_tiny("plain");
  const at::Tensor ids = random_ids(3, 24);
  const at::Tensor together = hidden_of(model, ids);
  for (std::int64_t b = 0; b < 3; ++b) {
    CHECK(same_bits(together.narrow(0, b, 1), hidden_of(model, ids.narrow(0, b, 1).contiguous())));
  }
  const at::Tensor longer = at::cat({ids, random_ids(3, 9, 8)}, 1);
  const at::Tensor padded =
      model.run(model.embed(longer), 0, model.spec().layers,
                {.cache = nullptr, .append = false, .lengths = {24, 24, 24}, .hook = {}});
  CHECK(relative(padded.slice(1, 0, 24), together) < tolerance::kSameModel);
}

TEST_CASE("model: rows of different length share a cache without seeing each other's slots") {
  const Decoder model = load_tiny("plain");
  const std::vector<std::int64_t> lengths{3, 17, 11};
  const at::Tensor ids = random_ids(3, 22);
  KvCache cache(model.spec(), 3, 32, model.options());
  const at::Tensor prompt = ids.slice(1, 0, 17).contiguous();
  static_cast<void>(model.run(model.embed(prompt), 0, 2,
                              {.cache = &cache, .append = true, .lengths = lengths, .hook = {}}));
  cache.advance(lengths);
  const at::Tensor next = random_ids(3, 5, 9);
  for (const bool append : {false, true}) {
    const at::Tensor out = model.run(
        model.embed(next), 0, 2, {.cache = &cache, .append = append, .lengths = {}, .hook = {}});
    for (std::int64_t b = 0; b < 3; ++b) {
      const std::int64_t length = lengths[static_cast<std::size_t>(b)];
      const at::Tensor alone =
          at::cat({ids.narrow(0, b, 1).slice(1, 0, length), next.narrow(0, b, 1)}, 1);
      CHECK(relative(out.narrow(0, b, 1), hidden_of(model, alone).slice(1, length)) <
            tolerance::kSameModel);
    }
  }
  CHECK(cache.select({2, 0}).lengths() == std::vector<std::int64_t>{11, 3});
  CHECK(same_bits(cache.select({2, 0}).keys(1).select(0, 0), cache.keys(1).select(0, 2)));
}

TEST_CASE("model: running blocks 0 to k and then the rest is running all") {
  const Decoder model = load_tiny("one_kv_head");
  const at::Tensor start = model.embed(random_ids(2, 16));
  const at::Tensor whole = model.run(start, 0, 3);
  for (std::int64_t k = 0; k <= 3; ++k)
    CHECK(same_bits(model.run(model.run(start, 0, k), k, 3), whole));
}

TEST_CASE(
    "model: hooks see every place in order and leave the pass unchanged when they return the "
    "value") {
  const Decoder model = load_tiny("plain");
  const at::Tensor start = model.embed(random_ids(1, 6));
  std::vector<std::pair<std::int64_t, Place>> seen;
  Pass pass;
  pass.hook = [&](std::int64_t layer, Place place, const at::Tensor& value) {
    seen.emplace_back(layer, place);
    return value;
  };
  CHECK(same_bits(model.run(start, 0, 2, pass), model.run(start, 0, 2)));
  REQUIRE(seen.size() == 10);
  CHECK(bool(seen[0] == std::pair<std::int64_t, Place>{0, Place::kBlockInput}));
  CHECK(bool(seen[2] == std::pair<std::int64_t, Place>{0, Place::kMlpKey}));
  CHECK(bool(seen[9] == std::pair<std::int64_t, Place>{1, Place::kBlockOutput}));
}

TEST_CASE("model: StopPass ends a pass with the input of its block") {
  const Decoder model = load_tiny("one_kv_head");
  const at::Tensor start = model.embed(random_ids(1, 6));
  Pass pass;
  pass.hook = [](std::int64_t layer, Place place, const at::Tensor& value) -> at::Tensor {
    if (layer == 2 && place == Place::kMlpKey) throw StopPass{};
    return value;
  };
  CHECK(same_bits(model.run(start, 0, 3, pass), model.run(start, 0, 2)));
}

TEST_CASE("model: replacing the MLP output by W' k in a hook equals with_weight(W')") {
  const Decoder model = load_tiny("plain");
  const at::Tensor start = model.embed(random_ids(2, 10));
  const MatrixRef down = model.mlp_down(1);
  CHECK(down.name == "model.layers.1.mlp.down_proj.weight");
  const at::Tensor weight = model.weight(down);
  const at::Tensor changed = weight + 0.1 * at::randn_like(weight);
  at::Tensor key;
  Pass pass;
  pass.hook = [&](std::int64_t layer, Place place, const at::Tensor& value) {
    if (layer != 1) return value;
    if (place == Place::kMlpKey) key = value;
    return place == Place::kMlpOutput ? at::linear(key, changed) : value;
  };
  const Decoder edited = model.with_weight(down.name, changed);
  const at::Tensor expected = edited.run(start, 0, 2);
  CHECK(relative(model.run(start, 0, 2, pass), expected) < tolerance::kOperator);
  CHECK(relative(model.run(start, 0, 2), expected) > 1e-3);
  CHECK(same_bits(model.weight(down), weight));
}

TEST_CASE(
    "model: the gradient of a hooked delta equals finite differences, behind a ragged cache") {
  const Decoder model = load_tiny("bias");
  const at::Tensor prompt = random_ids(2, 9);
  const std::vector<std::int64_t> lengths{9, 4};
  KvCache cache(model.spec(), 2, 16, model.options());
  static_cast<void>(model.run(model.embed(prompt), 0, 2,
                              {.cache = &cache, .append = true, .lengths = lengths, .hook = {}}));
  cache.advance(lengths);
  const at::Tensor start = model.embed(random_ids(2, 3, 11));
  const at::Tensor direction = at::randn({2, 3, model.spec().vocab});
  const auto loss = [&](const at::Tensor& delta) {
    Pass pass{.cache = &cache, .append = false, .lengths = {}, .hook = {}};
    pass.hook = [&](std::int64_t layer, Place place, const at::Tensor& value) {
      return layer == 0 && place == Place::kMlpOutput ? value + delta : value;
    };
    return (at::log_softmax(model.head(model.run(start, 0, 2, pass)), -1) * direction).sum();
  };
  const at::Tensor delta = at::zeros({model.spec().d_model}).requires_grad_(true);
  loss(delta).backward();
  const at::Tensor gradient = delta.grad();
  REQUIRE(gradient.defined());
  const at::NoGradGuard no_grad;
  const double step = 1e-2;
  at::Tensor numeric = at::empty_like(gradient, at::kDouble);
  for (std::int64_t i = 0; i < gradient.numel(); ++i) {
    at::Tensor moved = at::zeros_like(gradient);
    moved[i] = step;
    const double up = loss(moved).item<double>();
    moved[i] = -step;
    numeric[i] = (up - loss(moved).item<double>()) / (2 * step);
  }
  CHECK(relative(gradient, numeric) < tolerance::kFiniteDifference);
}

TEST_CASE("model: bodies of for_each_chunk give the same bits for any number of threads") {
  const Decoder model = load_tiny("plain");
  const auto run_all = [&](int threads) {
    parallel::set_threads(threads);
    init_runtime();
    std::vector<at::Tensor> out(6);
    for_each_chunk(6, [&](std::int64_t i) {
      const at::Tensor delta =
          at::full({model.spec().d_model}, 0.01 * static_cast<double>(i)).requires_grad_(true);
      Pass pass;
      pass.hook = [&](std::int64_t layer, Place place, const at::Tensor& value) {
        return layer == 0 && place == Place::kMlpOutput ? value + delta : value;
      };
      model.run(model.embed(random_ids(2, 20, static_cast<std::uint64_t>(i))), 0, 2, pass)
          .square()
          .sum()
          .backward();
      out[static_cast<std::size_t>(i)] = delta.grad();
    });
    parallel::set_threads(0);
    init_runtime();
    return out;
  };
  const auto one = run_all(1);
  const auto four = run_all(4);
  for (std::size_t i = 0; i < one.size(); ++i) CHECK(same_bits(one[i], four[i]));
}

TEST_CASE("model: a token id outside the vocabulary is refused with its position") {
  const Decoder model = load_tiny("plain");
  const at::Tensor ids = at::tensor({std::int64_t{1}, std::int64_t{64}}, at::kLong).view({1, 2});
  CHECK_THAT(error_of([&] { static_cast<void>(model.embed(ids)); }),
             Catch::Contains("found 64 at position 1"));
}
