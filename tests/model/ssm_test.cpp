// State spaces: the recurrence and the convolution against slow ones in float64, the state against
// the whole text.

#include <cmath>
#include <limits>

#include "core/error.h"
#include "model/kv_cache.h"
#include "model/ssm.h"
#include "tests/catch.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

struct Shape {
  std::int64_t batch, tokens, heads, d_head, groups, d_state;
};

struct Scan {
  at::Tensor x, dt, a, b, c, state;
};

Scan random_scan(const Shape& s, bool of_each_state) {
  return {.x = at::randn({s.batch, s.tokens, s.heads, s.d_head}),
          .dt = at::softplus(at::randn({s.batch, s.tokens, s.heads})),
          .a = -at::exp(at::randn({s.heads, of_each_state ? s.d_state : 1})),
          .b = at::randn({s.batch, s.tokens, s.groups, s.d_state}),
          .c = at::randn({s.batch, s.tokens, s.groups, s.d_state}),
          .state = at::randn({s.batch, s.heads, s.d_head, s.d_state})};
}

/// The formulas number by number; `state` becomes the last one.
at::Tensor slow_scan(const Scan& scan, const Shape& s, at::Tensor& state) {
  state = scan.state.to(at::kDouble).clone();
  at::Tensor y = at::zeros({s.batch, s.tokens, s.heads, s.d_head}, at::kDouble);
  const auto value = [](const at::Tensor& t, std::initializer_list<std::int64_t> at) {
    at::Tensor out = t;
    for (const std::int64_t i : at) out = out[i];
    return out.item<double>();
  };
  auto h = state.accessor<double, 4>();
  auto out = y.accessor<double, 4>();
  for (std::int64_t n = 0; n < s.batch; ++n) {
    for (std::int64_t t = 0; t < s.tokens; ++t) {
      for (std::int64_t head = 0; head < s.heads; ++head) {
        const std::int64_t group = head / (s.heads / s.groups);
        const double dt = value(scan.dt, {n, t, head});
        for (std::int64_t k = 0; k < s.d_state; ++k) {
          const double a = value(scan.a, {head, scan.a.size(1) == 1 ? 0 : k});
          const double b = value(scan.b, {n, t, group, k});
          const double c = value(scan.c, {n, t, group, k});
          for (std::int64_t p = 0; p < s.d_head; ++p) {
            double& state_of = h[n][head][p][k];
            state_of = std::exp(dt * a) * state_of + dt * b * value(scan.x, {n, t, head, p});
            out[n][t][head][p] += c * state_of;
          }
        }
      }
    }
  }
  return y;
}

}  // namespace

TEST_CASE(
    "state space: the scan equals its formulas in float64, with an A for each state or head") {
  at::manual_seed(4);
  const Shape first{2, 19, 6, 1, 1, 5};
  const Shape second{2, 17, 4, 3, 2, 5};
  for (const bool of_each_state : {true, false}) {
    const Shape& shape = of_each_state ? first : second;
    const Scan scan = random_scan(shape, of_each_state);
    at::Tensor expected_state;
    const at::Tensor expected = slow_scan(scan, shape, expected_state);
    at::Tensor state = scan.state;
    const at::Tensor y = selective_scan(scan.x, scan.dt, scan.a, scan.b, scan.c, state);
    CHECK(relative(y.to(at::kDouble), expected) < tolerance::kOperator);
    CHECK(relative(state.to(at::kDouble), expected_state) < tolerance::kOperator);
  }
}

TEST_CASE("state space: the loop and LibTorch's operators give the same, in pieces too") {
  const at::NoGradGuard no_grad;
  at::manual_seed(6);
  // More states than fit at once, so that tokens are taken in pieces; states of no whole vector.
  for (const Shape& shape :
       {Shape{2, 9, 6, 1, 1, 16}, Shape{1, 7, 4, 3, 2, 13}, Shape{3, 5, 4, 700, 1, 128}}) {
    for (const bool of_each_state : {true, false}) {
      INFO(shape.d_state << " states, an A for each " << of_each_state);
      const Scan scan = random_scan(shape, of_each_state);
      at::Tensor one = scan.state, other = scan.state;
      const at::Tensor y = selective_scan(scan.x, scan.dt, scan.a, scan.b, scan.c, one);
      const at::Tensor z = scan_composed(scan.x, scan.dt, scan.a, scan.b, scan.c, other);
      CHECK(relative(y, z) < tolerance::kOperator);
      CHECK(relative(one, other) < tolerance::kOperator);
      CHECK_FALSE(one.is_alias_of(scan.state));
    }
  }
}

TEST_CASE("state space: chunks of the scan change nothing") {
  at::manual_seed(5);
  // States of 2 x 512 x 1 x 512 numbers: four tokens at once.
  const Shape shape{2, 11, 512, 1, 1, 512};
  const Scan scan = random_scan(shape, true);
  at::Tensor whole_state = scan.state;
  const at::Tensor whole = selective_scan(scan.x, scan.dt, scan.a, scan.b, scan.c, whole_state);
  at::Tensor state = scan.state;
  std::vector<at::Tensor> parts;
  for (std::int64_t t = 0; t < shape.tokens; ++t) {
    const auto one = [&](const at::Tensor& each) { return each.narrow(1, t, 1); };
    parts.push_back(
        selective_scan(one(scan.x), one(scan.dt), scan.a, one(scan.b), one(scan.c), state));
  }
  CHECK(relative(state, whole_state) < tolerance::kOperator);
  CHECK(relative(at::cat(parts, 1), whole) < tolerance::kOperator);
}

TEST_CASE("state space: the convolution is conv1d over the inputs before and these") {
  at::manual_seed(6);
  for (const bool biased : {true, false}) {
    const at::Tensor x = at::randn({2, 9, 5}), before = at::randn({2, 3, 5});
    const at::Tensor weight = at::randn({4, 5});
    const at::Tensor bias = biased ? at::randn({5}) : at::Tensor();
    const std::vector<std::int64_t> one{1}, none{0};
    const at::Tensor expected = at::conv1d(at::cat({before, x}, 1).transpose(1, 2).to(at::kDouble),
                                           weight.t().unsqueeze(1).to(at::kDouble),
                                           biased ? bias.to(at::kDouble) : bias, one, none, one, 5)
                                    .transpose(1, 2);
    CHECK(relative(causal_conv(x, weight, bias, before).to(at::kDouble), expected) <
          tolerance::kOperator);
  }
}

TEST_CASE("state space: a pass that ends early leaves the cache as it was") {
  const Decoder model = load_tiny("mamba");
  const at::Tensor ids = golden("mamba", "ids").slice(1, 0, 20).contiguous();
  const std::int64_t layers = model.spec().layers;
  KvCache cache(model.spec(), 2, 20, model.options());
  Pass pass{.cache = &cache, .append = true, .lengths = {}, .hook = {}};
  static_cast<void>(model.run(model.embed(ids.narrow(1, 0, 8)), 0, layers, pass));
  cache.advance({8, 8});
  pass.hook = [](std::int64_t layer, Place place, const at::Tensor& value) {
    if (layer == 1 && place == Place::kAttentionOutput) throw StopPass{};
    return value;
  };
  static_cast<void>(model.run(model.embed(ids.narrow(1, 8, 12)), 0, layers, pass));
  pass.hook = {};
  const at::Tensor after = model.run(model.embed(ids.narrow(1, 8, 12)), 0, layers, pass);
  const at::Tensor whole = model.run(model.embed(ids), 0, layers).narrow(1, 8, 12);
  CHECK(relative(after, whole) < tolerance::kSameModel);
}

TEST_CASE("state space: a cache goes back to no tokens or says that it cannot", "[slow]") {
  const Decoder model = load_tiny("jamba");
  const at::Tensor ids = golden("jamba", "ids").slice(1, 0, 12).contiguous();
  const std::int64_t layers = model.spec().layers;
  KvCache cache(model.spec(), 2, 12, model.options());
  const Pass pass{.cache = &cache, .append = true, .lengths = {}, .hook = {}};
  const at::Tensor first = model.run(model.embed(ids), 0, layers, pass);
  cache.advance({12, 12});
  const KvCache kept = cache.select({0, 1});
  CHECK_THAT(error_of([&] { cache.truncate({12, 5}); }), Catch::Contains("state spaces"));
  cache.truncate({12, 0});
  CHECK(cache.lengths() == std::vector<std::int64_t>{12, 0});
  CHECK(kept.state(0).scan[1].abs().max().item<double>() > 0);
  const at::Tensor again = model.run(model.embed(ids), 0, layers, pass);
  CHECK(relative(again.narrow(0, 1, 1), first.narrow(0, 1, 1)) < tolerance::kSameModel);
}

TEST_CASE("state space: weights kept in bfloat16 give what the same ones in float32 give",
          "[slow]") {
  for (const std::string name : {"mamba", "mamba2", "jamba"}) {
    const at::Tensor ids = golden(name, "ids");
    const at::Tensor narrow = load_tiny(name, at::kBFloat16).forward(ids);
    CHECK(relative(narrow, load_tiny(name).forward(ids)) < tolerance::kSameModel);
  }
}
