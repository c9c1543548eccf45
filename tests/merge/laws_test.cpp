// What every registered method promises, checked for all of them: a new method is held to it by
// being registered.
#include <bit>

#include "core/dispatch.h"
#include "core/hash.h"
#include "core/parallel.h"
#include "merge/run.h"
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

/// Several chunks, but where the linear algebra of the tests would take minutes.
std::vector<std::int64_t> large_shape(const Method& method) {
  return method.needs_linalg ? std::vector<std::int64_t>{67, 131}
                             : std::vector<std::int64_t>{1031, 1201};
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

TEST_CASE("law: threads, instruction sets and memory do not move a bit", "[slow]") {
  for_each_method([&](const Method& method) {
    const std::vector<std::int64_t> large = large_shape(method);
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
    limit_isa(Isa::kAvx2);
    CHECK(same_bits(merge.run(), one));
    limit_isa(Isa::kAvx512);
    merge.scratch = 0;
    CHECK(same_bits(merge.run(), one));
    parallel::set_threads(0);
  });
}

TEST_CASE("law: values on a coarse grid, with ties everywhere, do not depend on memory either",
          "[slow]") {
  for_each_method([&](const Method& method) {
    const std::vector<std::int64_t> large = large_shape(method);
    const auto n = static_cast<std::size_t>(large[0] * large[1]);
    TensorMerge merge = example(method);
    merge.shape = large;
    const auto coarse = [&](unsigned seed) {
      Values values = random_values(n, seed, 2);
      for (double& v : values) v = std::round(v) / 256;
      return values;
    };
    for (std::size_t i = 0; i < merge.models.size(); ++i)
      merge.models[i] = coarse(static_cast<unsigned>(i));
    if (!merge.base.empty()) merge.base = coarse(77);
    const Values wide = merge.run();
    merge.scratch = 0;
    CHECK(same_bits(merge.run(), wide));
  });
}

TEST_CASE("law: twice the inputs and the base give twice the result, where promised") {
  for_each_method([](const Method& method) {
    if (!method.laws.scales) return;
    TensorMerge merge = example(method);
    const Values once = merge.run();
    for (Values& model : merge.models) {
      for (double& v : model) v *= 2;
    }
    for (double& v : merge.base) v *= 2;
    const Values twice = merge.run();
    for (std::size_t i = 0; i < kSize; ++i) CHECK(twice[i] == Approx(2 * once[i]).epsilon(1e-12));
  });
}

TEST_CASE("law: density 1 is no sparsifier") {
  for_each_method([](const Method& method) {
    // knots sparsifies in a basis of its own: published_test.cpp.
    if (find_parameter(method, "density") == nullptr || method.name == "knots") return;
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

TEST_CASE("law: a weight that lies [d_in, d_out] is merged as one that lies [d_out, d_in]") {
  const auto turned = [](const TensorMerge& merge, const Values& values) {
    Matrix all(static_cast<std::size_t>(merge.shape[0]), static_cast<std::size_t>(merge.shape[1]));
    all.values = values;
    return transposed(all).values;
  };
  const auto check = [&](TensorMerge merge) {
    merge.shape = {7, 12};
    for (Values& model : merge.models) model.resize(84);
    merge.base.resize(84);
    TensorMerge other = merge;
    other.shape = {12, 7};
    other.transposed = true;
    other.base = turned(merge, merge.base);
    for (Values& model : other.models) model = turned(merge, model);
    const Values expected = turned(merge, merge.run()), found = other.run();
    for (std::size_t i = 0; i < 84; ++i) CHECK(found[i] == Approx(expected[i]).margin(1e-10));
  };
  for_each_method([&](const Method& method) {
    if (method.needs_linalg || method.name == "widen") check(example(method));
  });
  TensorMerge post = example(*find_merge_method("task_arithmetic"));
  post.post.svc = 1.0;
  check(post);
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

namespace {

/// A recipe for all models of a method, with the parameters that must be given.
std::string recipe_of(const Method& method, const std::vector<std::string>& models) {
  std::string text = "merge_method: " + std::string(method.name) + "\nparameters: {";
  for (const MergeParameter& p : method.parameters) {
    if (std::isnan(p.fallback)) text += std::string(p.name) + ": 0.5, ";
    if (p.name == "density") text += "density: 0.5, ";
  }
  text += "}\n";
  if (method.base != BaseUse::kNone) text += "base_model: base\n";
  text += "models:\n";
  for (const std::string& model : models) text += "  - model: " + model + "\n";
  return text;
}

std::vector<std::string> models_of(const Method& method) {
  std::vector<std::string> models{"a", "b"};
  models.resize(std::min<std::size_t>(2, method.max_models));
  return models;
}

}  // namespace

TEST_CASE("law: NaN and infinities of any input, in any dtype, are exit 5 and named", "[slow]") {
  Scratch scratch;
  const Values good = random_values(40 * 30, 1, 0.02);
  for_each_method([&](const Method& method) {
    const std::string recipe = recipe_of(method, models_of(method));
    MergeOptions options;
    options.linalg = &jacobi();
    std::vector<std::string> inputs = models_of(method);
    if (method.base == BaseUse::kRequired) inputs.push_back("base");
    for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
      for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
        const std::string& damaged =
            inputs[(static_cast<std::size_t>(dtype) + (bad < 0 ? 1U : 0U)) % inputs.size()];
        for (const std::string name : {"a", "b", "base"}) {
          Values values = good;
          if (name == damaged) values[777] = bad;
          save_model(scratch / name, {{"x.weight", {{40, 30}, values}}}, dtype);
        }
        INFO(damaged << ' ' << bad);
        const RecipeFile file = parse_recipe(recipe, "r.yml", scratch.path());
        const auto error =
            error_of([&] { run_merge(file, *plan_merge(file, options), scratch / "out", {}); });
        REQUIRE(error);
        CHECK(error->kind() == ErrorKind::kNumeric);
        CHECK_THAT(error->message(), Catch::Contains("x.weight") &&
                                         Catch::Contains("'" + damaged + "'") &&
                                         Catch::Contains("element 777"));
        CHECK_FALSE(fs::exists(scratch / "out"));
      }
    }
  });
}

TEST_CASE("law: the file of a merge is the same for any number of threads and memory bound",
          "[slow]") {
  Scratch scratch;
  for (const std::string name : {"a", "b", "base"}) {
    const auto seed =
        static_cast<unsigned>(name.size() * 100 + static_cast<unsigned char>(name[0]));
    NamedTensors tensors{{"x.bias", {{7}, random_values(7, seed + 1)}},
                         {"y.weight", {{64, 300}, random_values(64 * 300, seed + 2, 0.02)}}};
    save_model(scratch / "small" / name, tensors, DType::kBF16);
    tensors["w.weight"] = {{1100, 1000}, random_values(1'100'000, seed, 0.02)};
    save_model(scratch / name, tensors, DType::kBF16);
  }
  for_each_method([&](const Method& method) {
    // Spectral methods hold whole matrices: small ones for the plain algebra, no small bound.
    const bool whole = method.needs_linalg;
    MergeOptions options;
    options.linalg = &jacobi();
    const RecipeFile file = parse_recipe(recipe_of(method, models_of(method)), "r.yml",
                                         whole ? scratch / "small" : scratch.path());
    std::vector<std::string> hashes;
    for (const auto& [threads, memory] :
         {std::pair{1, 1ULL << 30}, std::pair{3, 1ULL << 20}, std::pair{2, 1ULL << 30}}) {
      parallel::set_threads(threads);
      run_merge(file, *plan_merge(file, options), scratch / "out.safetensors",
                {.memory = whole ? 1ULL << 30 : memory, .force = true});
      hashes.push_back(sha256_file(scratch / "out.safetensors"));
    }
    parallel::set_threads(0);
    CHECK(hashes[0] == hashes[1]);
    CHECK(hashes[0] == hashes[2]);
  });
}
