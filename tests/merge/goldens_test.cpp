// The formulas on tensors small enough to check by hand. b, d1, d2 and the results are those that
// mergekit 0.1.4's own tensor functions gave in float32.
#include "tests/catch.h"
#include "tests/merge/memory.h"

using namespace lancet;
using namespace lancet::test;

namespace {

const std::vector<std::int64_t> kShape{2, 4};
const Values kBase{1, -2, .5, 0, .25, 3, -1, 2};
const Values kDelta1{.4, -.1, .2, -.3, .05, .6, -.7, .08};
const Values kDelta2{-.5, .2, .1, -.1, .3, -.2, -.4, .9};
const Given kWeights{{"weight", {.6, .4}}};

/// In float32, as a checkpoint has it.
Values plus(const Values& a, const Values& b) {
  Values out(a);
  for (std::size_t i = 0; i < a.size(); ++i)
    out[i] = static_cast<double>(static_cast<float>(a[i] + b[i]));
  return out;
}

const Values kModel1 = plus(kBase, kDelta1);
const Values kModel2 = plus(kBase, kDelta2);

void check(const Values& found, const Values& expected) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    INFO("element " << i);
    CHECK(found[i] == Approx(expected[i]).margin(1e-6));
  }
}

/// Two models on the base, weights .6 and .4 and more.
Values on_base(const std::string& method, Given more = {},
               Semantics semantics = Semantics::kFixed) {
  more.insert(kWeights.begin(), kWeights.end());
  return TensorMerge{.method = method,
                     .shape = kShape,
                     .models = {kModel1, kModel2},
                     .base = kBase,
                     .given = more,
                     .semantics = semantics}
      .run();
}

}  // namespace

TEST_CASE("linear: the weighted mean, and the weighted sum without normalize") {
  const TensorMerge mean{.method = "linear",
                         .shape = kShape,
                         .models = {kModel1, kModel2},
                         .given = {{"weight", {3, 1}}}};
  Values expected;
  for (std::size_t i = 0; i < 8; ++i) expected.push_back(.75 * kModel1[i] + .25 * kModel2[i]);
  check(mean.run(), expected);
  TensorMerge sum = mean;
  sum.given["normalize"] = {0};
  for (double& v : expected) v *= 4;
  check(sum.run(), expected);
}

TEST_CASE("linear: weights that sum to zero are refused unless they are not divided by") {
  TensorMerge merge{.method = "linear",
                    .shape = kShape,
                    .models = {kModel1, kModel2},
                    .given = {{"weight", {1, -1}}}};
  const auto error = error_of([&] { static_cast<void>(merge.run()); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kUsage);
  merge.given["normalize"] = {0};
  check(merge.run(), {.9, -.3, .1, -.2, -.25, .8, -.3, -.82});
}

TEST_CASE("task_arithmetic: golden, with normalize and lambda") {
  check(on_base("task_arithmetic"), {1.04, -1.98, .66, -.22, .4, 3.28, -1.58, 2.408});
  check(on_base("task_arithmetic", {{"normalize", {1}}, {"lambda", {.5}}}),
        {1.02, -1.99, .58, -.11, .325, 3.14, -1.29, 2.204});
}

TEST_CASE("ties: golden at density one half, with and without normalize") {
  check(on_base("ties", {{"density", {.5}}}), {1.4, -2, .5, -.3, .55, 3.6, -1.58, 2.9});
  check(on_base("ties", {{"density", {.5}}, {"normalize", {0}}}),
        {1.24, -2, .5, -.18, .37, 3.36, -1.58, 2.36});
}

TEST_CASE("ties: paper semantics elects signs by the deltas, not by the weighted ones") {
  const Values out = on_base("ties", {{"density", {.5}}, {"weight", {1, 1}}}, Semantics::kPaper);
  check(out, plus(kBase, {-.5, 0, 0, -.3, .3, .6, -.55, .9}));
}

TEST_CASE("slerp: golden") {
  const TensorMerge merge{.method = "slerp",
                          .shape = kShape,
                          .models = {kModel2},
                          .base = kBase,
                          .given = {{"t", {.35}}}};
  check(merge.run(),
        {.8305667, -1.9437211, .5389154, -.0353234, .3577663, 2.9509048, -1.1484777, 2.3322790});
}

TEST_CASE("slerp: nearly parallel tensors are interpolated along the line") {
  Values near = kBase;
  near[0] += 1e-3;
  const TensorMerge merge{
      .method = "slerp", .shape = kShape, .models = {near}, .base = kBase, .given = {{"t", {.25}}}};
  Values expected = kBase;
  expected[0] += .25e-3;
  const Values out = merge.run();
  for (std::size_t i = 0; i < out.size(); ++i) CHECK(out[i] == Approx(expected[i]).margin(1e-15));
}

TEST_CASE("passthrough: scale multiplies, its default changes nothing") {
  TensorMerge merge{.method = "passthrough", .shape = kShape, .models = {kModel1}};
  CHECK(merge.run() == kModel1);
  merge.given["scale"] = {0};
  CHECK(merge.run() == Values{0, 0, 0, 0, 0, 0, 0, 0});
}

TEST_CASE("breadcrumbs: golden; a gamma below one element still keeps the target") {
  // d2 has .2 twice where one of them is kept: the lower index here, the higher one in mergekit's
  // run.
  check(on_base("breadcrumbs", {{"density", {.5}}, {"gamma", {.125}}}),
        {1.04, -1.92, .62, -.18, .37, 3.36, -1.16, 2});
  // mergekit 0.1.4 gave the base back here.
  check(on_base("breadcrumbs", {{"density", {.5}}, {"gamma", {.01}}}),
        on_base("breadcrumbs", {{"density", {.5}}, {"gamma", {0}}}));
  const Values one_to_ten{1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  const TensorMerge merge{.method = "breadcrumbs",
                          .shape = {10},
                          .models = {one_to_ten},
                          .base = Values(10, 0.0),
                          .given = {{"weight", {1}}, {"density", {.5}}, {"gamma", {.1}}}};
  check(merge.run(), {0, 0, 0, 0, 5, 6, 7, 8, 9, 0});
}

TEST_CASE("nuslerp: golden, flat, along the last dimension and along the first") {
  TensorMerge merge{.method = "nuslerp",
                    .shape = kShape,
                    .models = {kBase, kModel2},
                    .given = {{"weight", {.6, .4}}}};
  check(merge.run(),
        {.8058102, -1.9344506, .5441434, -.0403538, .3729562, 2.9420300, -1.1689943, 2.3783426});
  merge.given["nuslerp_flatten"] = {0};
  check(merge.run(),
        {.8041906, -1.9304224, .5429884, -.0402552, .3723265, 2.9373374, -1.1670785, 2.3744352});
  merge.given["nuslerp_row_wise"] = {1};
  check(merge.run(),
        {.8329679, -1.9200636, .5402266, -.0400067, .3867914, 2.9200969, -1.1604918, 2.3603451});
}

TEST_CASE("multislerp: golden, plain and on task vectors") {
  TensorMerge merge{
      .method = "multislerp", .shape = kShape, .models = {kModel1, kModel2}, .given = kWeights};
  check(merge.run(),
        {1.0319784, -1.9987115, .6662372, -.2180720, .4112479, 3.3037112, -1.5934743, 2.4592433});
  merge.base = kBase;
  check(merge.run(),
        {1.0824678, -1.9823941, .7196066, -.3039281, .4450516, 3.4040015, -1.7941048, 2.5261297});
}

TEST_CASE("karcher: golden of three models") {
  const TensorMerge merge{
      .method = "karcher", .shape = kShape, .models = {kBase, kModel1, kModel2}};
  check(merge.run(),
        {.9675475, -1.9919524, .6030706, -.1265796, .3713316, 3.1607554, -1.3668057, 2.3607192});
}

TEST_CASE("model_stock: golden, and a negative cosine draws back to the base") {
  TensorMerge merge{
      .method = "model_stock", .shape = kShape, .models = {kModel1, kModel2}, .base = kBase};
  check(merge.run(),
        {.9943186, -1.9943186, .5170442, -.0227256, .2698849, 3.0227256, -1.0624954, 2.0556777});
  merge.given["filter_wise"] = {1};
  Values clamped = merge.run();
  merge.semantics = Semantics::kMergekit;
  check(merge.run(),
        {1.1259642, -2.1259642, .1221077, .5038564, .3209186, 3.0810497, -1.2228870, 2.1985722});
  check({clamped.begin(), clamped.begin() + 4}, {kBase.begin(), kBase.begin() + 4});
  check({clamped.begin() + 4, clamped.end()}, {.3209186, 3.0810497, -1.2228870, 2.1985722});
}

TEST_CASE("nearswap: golden") {
  const TensorMerge merge{.method = "nearswap",
                          .shape = kShape,
                          .models = {kModel2},
                          .base = kBase,
                          .given = {{"t", {.1}}}};
  check(merge.run(), {.9, -1.9, .6, -.1, .35, 2.9, -1.1, 2.1});
}

TEST_CASE("sce: golden, all positions and half of them") {
  TensorMerge merge{.method = "sce", .shape = kShape, .models = {kModel1, kModel2}, .base = kBase};
  check(merge.run(), {.5, -1.8, .6451127, -.1902254, .4372183, 3.6, -1.5353380, 2.5300760});
  merge.given["select_topk"] = {.5};
  check(merge.run(), {.5, -2, .5, 0, .25, 3.6, -1.5339484, 2.5338745});
}

TEST_CASE("sce: small deltas are weighed, but not in mergekit's semantics") {
  const Values small1(8, 1e-4), small2(8, 3e-4);
  TensorMerge merge{.method = "sce",
                    .shape = kShape,
                    .models = {plus(kBase, small1), plus(kBase, small2)},
                    .base = kBase};
  CHECK(merge.run()[0] - 1 == Approx(.1e-4 + .9 * 3e-4).epsilon(1e-3));
  merge.semantics = Semantics::kMergekit;
  CHECK(merge.run()[0] - 1 == Approx(2e-4).epsilon(1e-3));
}

TEST_CASE("ram and ramplus_tl: golden") {
  const Values q1 = plus(kBase, {.4, 0, 0, -.3, .05, 0, 0, .08}),
               q2 = plus(kBase, {0, .2, 0, -.1, .3, 0, -.4, 0});
  TensorMerge merge{.method = "ram", .shape = kShape, .models = {q1, q2}, .base = kBase};
  check(merge.run(), {1.4, -1.8, .5, -.2, .425, 3, -1.4, 2.08});
  merge.method = "ramplus_tl";
  check(merge.run(), {1.408, -1.796, .5, -.2, .425, 3, -1.408, 2.0816});
}

TEST_CASE("arcee_fusion: golden") {
  const TensorMerge merge{
      .method = "arcee_fusion", .shape = kShape, .models = {kModel2}, .base = kBase};
  check(merge.run(), {1, -2, .5, 0, .25, 3, -1, 2.9});
}

TEST_CASE("dare and della: the kept share, the rescale by mass and the paper's by probability") {
  const std::int64_t rows = 64, columns = 1024;
  const auto n = static_cast<std::size_t>(rows * columns);
  const Values delta = random_values(n, 11), base(n, 0.0);
  for (const std::string method : {"dare_linear", "della_linear"}) {
    for (const Semantics semantics : {Semantics::kFixed, Semantics::kPaper}) {
      TensorMerge merge{.method = method,
                        .shape = {rows, columns},
                        .models = {delta},
                        .base = base,
                        .given = {{"weight", {1}}, {"density", {.4}}},
                        .semantics = semantics};
      const Values out = merge.run();
      double kept = 0, mass = 0, all = 0, projection = 0, square = 0;
      for (std::size_t i = 0; i < n; ++i) {
        kept += out[i] != 0 ? 1 : 0;
        mass += std::fabs(out[i]);
        all += std::fabs(delta[i]);
        projection += out[i] * delta[i];
        square += delta[i] * delta[i];
      }
      INFO(method << (semantics == Semantics::kPaper ? " paper" : ""));
      CHECK(kept / static_cast<double>(n) == Approx(.4).margin(.01));
      if (semantics == Semantics::kFixed) CHECK(mass == Approx(all).epsilon(1e-9));
      if (semantics == Semantics::kPaper)
        CHECK(projection / square == Approx(1).margin(.02));  // unbiased
    }
  }
}

TEST_CASE("della: larger elements of a row are kept more often, by the stated probabilities") {
  const std::int64_t rows = 4000, columns = 8;
  const auto n = static_cast<std::size_t>(rows * columns);
  Values delta(n);
  for (std::size_t i = 0; i < n; ++i) delta[i] = static_cast<double>(i % 8) + 1;
  const TensorMerge merge{
      .method = "della_linear",
      .shape = {rows, columns},
      .models = {delta},
      .base = Values(n, 0.0),
      .given = {{"weight", {1}}, {"density", {.5}}, {"epsilon", {.3}}, {"rescale", {0}}}};
  const Values out = merge.run();
  for (std::size_t j = 0; j < 8; ++j) {
    double kept = 0;
    for (std::size_t i = j; i < n; i += 8) kept += out[i] != 0 ? 1 : 0;
    CHECK(kept / static_cast<double>(rows) ==
          Approx(.2 + .6 * static_cast<double>(j) / 7).margin(.03));
  }
}
