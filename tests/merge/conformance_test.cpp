// What methods promise of each other, and corners that merging tools are known to get wrong.
#include <cmath>

#include "core/parallel.h"
#include "merge/run.h"
#include "tests/catch.h"
#include "tests/merge/memory.h"

using namespace lancet;
using namespace lancet::test;

namespace {

constexpr std::size_t kSize = 40 * 50;

/// Two models of small changes on a base.
TensorMerge pair(std::string method, Given given = {}) {
  TensorMerge merge{.method = std::move(method), .shape = {40, 50}, .given = std::move(given)};
  merge.base = random_values(kSize, 1, 0.02);
  for (unsigned seed : {2U, 3U}) {
    Values model = random_values(kSize, seed, 1e-3);
    for (std::size_t i = 0; i < kSize; ++i) model[i] += merge.base[i];
    merge.models.push_back(std::move(model));
  }
  return merge;
}

TensorMerge alone(TensorMerge merge) {
  merge.models.pop_back();
  return merge;
}

void check_near(const Values& found, const Values& wanted, double tolerance = 1e-15) {
  REQUIRE(found.size() == wanted.size());
  for (std::size_t i = 0; i < found.size(); ++i)
    CHECK(std::fabs(found[i] - wanted[i]) <= tolerance);
}

double norm(const Values& x) {
  double sum = 0;
  for (const double v : x) sum += v * v;
  return std::sqrt(sum);
}

Values scaled(Values x, double factor) {
  for (double& v : x) v *= factor;
  return x;
}

std::size_t changed(const Values& result, const Values& base) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < result.size(); ++i) count += result[i] != base[i] ? 1U : 0U;
  return count;
}

}  // namespace

TEST_CASE("conformance: methods that reduce to others give the same values") {
  const Given plain{{"weight", {1}}, {"density", {1}}, {"normalize", {0}}};
  check_near(alone(pair("ties", plain)).run(),
             alone(pair("task_arithmetic", {{"weight", {1}}})).run());
  const Given both{{"weight", {.6, .4}}, {"density", {1}}};
  check_near(pair("dare_linear", both).run(),
             pair("task_arithmetic", {{"weight", {.6, .4}}}).run());
  const Given half{{"weight", {1}}, {"density", {.5}}, {"gamma", {0}}, {"normalize", {0}}};
  check_near(pair("breadcrumbs_ties", half).run(), pair("ties", half).run());

  // On the sphere: nuslerp of equal norms is slerp, and karcher of two is its middle.
  TensorMerge slerp = alone(pair("slerp", {{"t", {.4}}}));
  slerp.models[0] = scaled(random_values(kSize, 9), 1);
  slerp.models[0] = scaled(slerp.models[0], norm(slerp.base) / norm(slerp.models[0]));
  const TensorMerge nuslerp{.method = "nuslerp",
                            .shape = slerp.shape,
                            .models = {slerp.base, slerp.models[0]},
                            .given = {{"weight", {.6, .4}}}};
  check_near(nuslerp.run(), slerp.run(), 1e-12);
  slerp.given["t"] = {.5};
  const TensorMerge karcher{.method = "karcher",
                            .shape = slerp.shape,
                            .models = {slerp.base, scaled(slerp.models[0], 3)},
                            .given = {{"max_iter", {50}}, {"tol", {1e-12}}}};
  check_near(karcher.run(), scaled(slerp.run(), 2), 1e-9);
}

TEST_CASE("conformance: model_stock of equal changes is their mean, the model itself") {
  TensorMerge merge = pair("model_stock");
  merge.models[1] = merge.models[0];
  check_near(merge.run(), merge.models[0], 1e-12);
}

TEST_CASE("conformance: exactly the share of the density is kept, also among equal magnitudes") {
  for (const double grid : {0.0, 0.5}) {
    for (const double density : {0.1, 0.5, 0.73}) {
      TensorMerge merge = alone(pair("ties", {{"weight", {1}}, {"density", {density}}}));
      merge.base.assign(kSize, 0);
      merge.models[0] = random_values(kSize, 5);
      for (double& v : merge.models[0])
        v = grid > 0 ? (v < 0 ? -grid : grid) * std::ceil(std::fabs(v) / grid) : v;
      const auto wanted = static_cast<std::size_t>(density * static_cast<double>(kSize));
      CHECK(changed(merge.run(), merge.base) == wanted);
      merge.method = "breadcrumbs";
      merge.given["gamma"] = {0.1};
      CHECK(changed(merge.run(), merge.base) == wanted);
    }
  }
}

TEST_CASE("conformance: DARE and DELLA are unbiased over seeds with the papers' rescaling") {
  for (const std::string method : {"dare_linear", "della_linear"}) {
    TensorMerge merge =
        alone(pair(method, {{"weight", {1}}, {"density", {.4}}, {"epsilon", {.2}}}));
    merge.semantics = Semantics::kPaper;
    constexpr std::uint64_t kSeeds = 400;
    Values mean(kSize);
    for (merge.seed = 0; merge.seed < kSeeds; ++merge.seed) {
      const Values result = merge.run();
      for (std::size_t i = 0; i < kSize; ++i) mean[i] += (result[i] - merge.base[i]) / kSeeds;
    }
    double error = 0, whole = 0;
    for (std::size_t i = 0; i < kSize; ++i) {
      const double delta = merge.models[0][i] - merge.base[i];
      error += (mean[i] - delta) * (mean[i] - delta);
      whole += delta * delta;
    }
    // Variance of one draw: (1 - p) / p of delta^2, p from 0.2 (della's least) on.
    CHECK(std::sqrt(error / whole) < 2 * std::sqrt(4.0 / kSeeds));
    CHECK(std::sqrt(error / whole) > 0.25 * std::sqrt(1.0 / kSeeds));
  }
}

TEST_CASE("conformance: sums beyond float16's range, subnormals and one element stay finite") {
  for (const Method* method : merge_method_registry()) {
    if (method->base == BaseUse::kNone || method->needs_linalg || method->max_models < 2) continue;
    INFO(method->name);
    TensorMerge merge = pair(std::string(method->name));
    for (const MergeParameter& p : method->parameters) {
      if (p.name == "weight") merge.given["weight"] = {.5};
      if (p.name == "density") merge.given["density"] = {.5};
    }
    for (const double scale : {4e6, 1e-38}) {  // |d|_1 of 8e6; deltas below 2^-126
      for (std::size_t m = 0; m < 2; ++m) {
        merge.models[m] = random_values(kSize, static_cast<unsigned>(20 + m), scale * 1e-3);
        for (std::size_t i = 0; i < kSize; ++i) merge.models[m][i] += merge.base[i];
      }
      for (const double v : merge.run()) REQUIRE(std::isfinite(v));
    }
    merge.shape = {1};
    merge.base = {0.5};
    merge.models = {{0.75}, {0.625}};
    for (const double v : merge.run()) {
      CHECK(std::isfinite(v));
      CHECK((v >= 0.25 && v <= 1.0));
    }
  }
}

TEST_CASE("conformance: every method's plan says the bytes that are read and written", "[slow]") {
  Scratch scratch;
  const NamedTensors tensors{{"x.bias", {{7}, random_values(7, 1)}},
                             {"y.weight", {{64, 300}, random_values(64 * 300, 2, 0.02)}}};
  for (const std::string name : {"a", "b", "base"})
    save_model(scratch / name, tensors, DType::kBF16);
  const std::uint64_t stored = 2 * (7 + 64 * 300);
  for (const Method* method : merge_method_registry()) {
    INFO(method->name);
    const std::size_t models = std::min<std::size_t>(2, method->max_models);
    std::string recipe = "merge_method: " + std::string(method->name) + "\nparameters: {";
    for (const MergeParameter& p : method->parameters) {
      if (std::isnan(p.fallback)) recipe += std::string(p.name) + ": 0.5, ";
    }
    recipe += "}\nmodels: [{model: a}" + std::string(models > 1 ? ", {model: b}" : "") + "]\n";
    if (method->base != BaseUse::kNone) recipe += "base_model: base\n";
    const RecipeFile file = parse_recipe(recipe, "r.yml", scratch.path());
    MergeOptions options;
    options.linalg = &jacobi();
    const auto plan = plan_merge(file, options);
    CHECK(plan->bytes_read() == stored * (models + (method->base != BaseUse::kNone ? 1 : 0)));
    const Json done = run_merge(file, *plan, scratch / "out", {.force = true});
    CHECK(done["bytes_read"] == plan->bytes_read());
    const double written =
        static_cast<double>(fs::file_size(scratch / "out" / "model.safetensors"));
    CHECK(written == Approx(static_cast<double>(plan->bytes_written())).epsilon(0.05));
    CHECK(done["bytes_written"] == static_cast<std::uint64_t>(written));
  }
}
