// What every registered method promises, checked for all of them: a new method is held to it by
// being registered.
#include <bit>

#include "core/dispatch.h"
#include "core/parallel.h"
#include "tests/catch.h"
#include "tests/merge/memory.h"

using namespace lancet;
using namespace lancet::test;

namespace {

const std::vector<std::int64_t> kShape{37, 129};
constexpr std::size_t kSize = 37 * 129;

/// A case of a method with as many models as it takes (three at most), small task vectors,
/// parameters in range.
TensorMerge example(const Method& method, unsigned seed = 1) {
  TensorMerge merge{.method = std::string(method.name), .shape = kShape};
  const Values common = random_values(kSize, seed, 0.02);
  for (std::size_t i = 0; i < std::min<std::size_t>(3, method.max_models); ++i) {
    Values model = random_values(kSize, seed + 10 + static_cast<unsigned>(i), 1e-3);
    for (std::size_t k = 0; k < kSize; ++k)
      model[k] = static_cast<double>(static_cast<float>(model[k] + common[k]));
    merge.models.push_back(std::move(model));
  }
  if (method.base != BaseUse::kNone) merge.base = common;
  for (const MergeParameter& p : method.parameters) {
    if (p.name == "weight") merge.given["weight"] = {.5, .3, .2};
    if (p.name == "density") merge.given["density"] = {.6, .5, .4};
    if (p.name == "t") merge.given["t"] = {.3};
  }
  return merge;
}

Values rounded(const Values& values) {
  Values out;
  for (const double v : values) out.push_back(static_cast<double>(static_cast<float>(v)));
  return out;
}

void for_each_method(const std::function<void(const Method&)>& body) {
  REQUIRE(merge_method_registry().size() >= 20);
  for (const Method* method : merge_method_registry()) {
    INFO(method->name);
    body(*method);
  }
}

bool same_bits(const Values& a, const Values& b) {
  return std::ranges::equal(a, b, [](double x, double y) {
    return std::bit_cast<std::uint64_t>(x) == std::bit_cast<std::uint64_t>(y);
  });
}

}  // namespace

TEST_CASE("law: every method says what it is, and its parameters have sound ranges") {
  for_each_method([](const Method& method) {
    CHECK_FALSE(method.title.empty());
    CHECK_FALSE(method.paper.empty());
    CHECK(method.min_models <= method.max_models);
    for (const MergeParameter& p : method.parameters) {
      INFO(p.name);
      CHECK_FALSE(p.help.empty());
      CHECK(p.minimum < p.maximum);
      if (p.kind == MergeParameter::Kind::kWord)
        CHECK(p.maximum == static_cast<double>(p.choices.size()) - 1);
      if (!std::isnan(p.fallback)) CHECK((p.fallback >= p.minimum && p.fallback <= p.maximum));
    }
  });
}

TEST_CASE("law: equal models on an equal base give that model, bit for bit in float32") {
  for_each_method([](const Method& method) {
    if (!method.laws.identity) return;
    TensorMerge merge = example(method);
    for (Values& model : merge.models) model = merge.models[0];
    if (!merge.base.empty()) merge.base = merge.models[0];
    CHECK(same_bits(rounded(merge.run()), merge.models[0]));
  });
}

TEST_CASE(
    "law: methods without a base give equal models back also for weights that do not divide well") {
  for_each_method([](const Method& method) {
    if (!method.laws.identity || method.base == BaseUse::kRequired) return;
    TensorMerge merge = example(method);
    merge.base.clear();
    for (Values& model : merge.models) model = merge.models[0];
    if (merge.given.contains("weight")) merge.given["weight"] = {.1, .3, .7};
    CHECK(same_bits(rounded(merge.run()), merge.models[0]));
  });
}

TEST_CASE("law: the order of the models does not matter where the method promises it") {
  for_each_method([](const Method& method) {
    if (!method.laws.order_free || method.max_models < 2) return;
    TensorMerge merge = example(method);
    merge.keys = {"x", "y", "z"};
    const Values forward = rounded(merge.run());
    std::ranges::reverse(merge.models);
    merge.keys.resize(merge.models.size());
    std::ranges::reverse(merge.keys);
    for (auto& [name, values] : merge.given) {
      if (values.size() < 2) continue;
      values.resize(merge.models.size());
      std::ranges::reverse(values);
    }
    const Values backward = rounded(merge.run());
    std::size_t different = 0;
    for (std::size_t i = 0; i < kSize; ++i) {
      different += forward[i] != backward[i] ? 1U : 0U;
      CHECK(backward[i] == Approx(forward[i]).epsilon(3e-7).margin(1e-9));
    }
    CHECK(different < kSize / 100);
  });
}

TEST_CASE("law: a model of weight 0 is as if it were not listed, where promised") {
  for_each_method([](const Method& method) {
    if (!method.laws.zero_is_absent) return;
    TensorMerge merge = example(method);
    REQUIRE(merge.models.size() == 3);
    merge.given["weight"] = {.5, .3, 0};
    const Values with = merge.run();
    merge.models.pop_back();
    CHECK(same_bits(rounded(with), rounded(merge.run())));
  });
}

TEST_CASE("law: threads and instruction sets do not move a bit") {
  for_each_method([&](const Method& method) {
    // Several chunks, but where the linear algebra of the tests would take minutes.
    const std::vector<std::int64_t> large = method.needs_linalg
                                                ? std::vector<std::int64_t>{67, 131}
                                                : std::vector<std::int64_t>{1031, 1201};
    const auto n = static_cast<std::size_t>(large[0] * large[1]);
    TensorMerge merge = example(method);
    merge.shape = large;
    for (std::size_t i = 0; i < merge.models.size(); ++i)
      merge.models[i] = random_values(n, static_cast<unsigned>(i), 0.02);
    if (!merge.base.empty()) merge.base = random_values(n, 77, 0.02);
    parallel::set_threads(1);
    const Values one = merge.run();
    parallel::set_threads(3);
    CHECK(same_bits(merge.run(), one));
    limit_isa(Isa::kPlain);
    CHECK(same_bits(merge.run(), one));
    limit_isa(Isa::kAvx512);
    parallel::set_threads(0);
  });
}

TEST_CASE("law: density 1 is no sparsifier") {
  for_each_method([](const Method& method) {
    if (find_parameter(method, "density") == nullptr) return;
    TensorMerge merge = example(method);
    merge.given["density"] = {1};
    const Values sparse = merge.run();
    const bool consensus =
        method.name == "ties" || method.name.ends_with("_ties") || method.name == "della";
    TensorMerge plain = merge;
    plain.method = consensus ? "ties" : "task_arithmetic";
    plain.given["normalize"] = {find_parameter(method, "normalize")->fallback};
    CHECK(same_bits(sparse, plain.run()));
  });
}

TEST_CASE("law: lambda 0 gives the base, and lambda scales the merged delta") {
  for_each_method([](const Method& method) {
    if (find_parameter(method, "lambda") == nullptr) return;
    TensorMerge merge = example(method);
    const Values one = merge.run();
    merge.given["lambda"] = {0};
    CHECK(merge.run() == merge.base);
    merge.given["lambda"] = {2};
    const Values two = merge.run();
    for (std::size_t i = 0; i < kSize; ++i) {
      CHECK(two[i] - merge.base[i] == Approx(2 * (one[i] - merge.base[i])).margin(1e-15));
    }
  });
}

TEST_CASE(
    "law: random methods depend on seed, tensor and model, others do not depend on the seed") {
  for_each_method([](const Method& method) {
    TensorMerge merge = example(method);
    const Values first = merge.run();
    CHECK(same_bits(merge.run(), first));
    merge.seed = 1;
    CHECK(same_bits(merge.run(), first) != method.laws.random);
    if (!method.laws.random) return;
    merge.seed = 0;
    merge.name = "other.weight";
    CHECK_FALSE(same_bits(merge.run(), first));
    merge.name = "layer.weight";
    merge.keys = {"p", "q", "r"};
    CHECK_FALSE(same_bits(merge.run(), first));
  });
}

TEST_CASE("law: tensors of one element, of one row and of none are merged") {
  for_each_method([](const Method& method) {
    for (const std::vector<std::int64_t>& shape :
         {std::vector<std::int64_t>{}, {1}, {1, 5}, {5, 1}, {0, 4}, {2, 3, 4}}) {
      TensorMerge merge = example(method);
      merge.shape = shape;
      std::size_t n = 1;
      for (const auto d : shape) n *= static_cast<std::size_t>(d);
      for (Values& model : merge.models) model.resize(n);
      if (!merge.base.empty()) merge.base.resize(n);
      if (n == 0) continue;  // a base without elements cannot be told from none here
      for (const double v : merge.run()) CHECK(std::isfinite(v));
    }
  });
}

TEST_CASE("law: zero deltas and zero tensors give finite results") {
  for_each_method([](const Method& method) {
    TensorMerge merge = example(method);
    for (Values& model : merge.models) model.assign(kSize, 0.0);
    if (!merge.base.empty()) merge.base.assign(kSize, 0.0);
    for (const double v : merge.run()) CHECK(v == 0);
  });
}
