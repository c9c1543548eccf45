// Who gave what, and the card: checked on merges whose answer is known.
#include "merge/statistics.h"

#include "merge/card.h"
#include "merge/run.h"
#include "tests/catch.h"
#include "tests/merge/memory.h"

using namespace lancet;
using namespace lancet::test;

namespace {

NamedTensors two_tensors(unsigned seed) {
  NamedTensors out;
  out["model.layers.0.mlp.up_proj.weight"] = {{16, 8}, random_values(128, seed, 0.02)};
  out["model.norm.weight"] = {{8}, random_values(8, seed + 1, 0.02)};
  return out;
}

struct Fixture {
  Scratch scratch;
  Fixture() {
    for (unsigned i = 0; i < 3; ++i) {
      save_model(scratch / std::string(1, static_cast<char>('a' + i)), two_tensors(10 * i + 1),
                 DType::kF32, {{"model_type", "llama"}, {"num_hidden_layers", 1}});
    }
  }
  std::pair<std::shared_ptr<const MergePlan>, RecipeFile> merge(const std::string& recipe) const {
    RecipeFile file = parse_recipe(recipe, "r.yml", scratch.path());
    auto plan = plan_merge(file, {});
    static_cast<void>(run_merge(file, *plan, scratch / "out", {.force = true}));
    return {std::move(plan), std::move(file)};
  }
  std::vector<TensorOrigin> origins(const MergePlan& plan) const {
    return trace_origins(plan, ModelSource::open(scratch / "out"));
  }
};

}  // namespace

TEST_CASE_METHOD(Fixture, "merge statistics: a linear merge has its own weights") {
  const auto [plan, recipe] = merge(
      "merge_method: linear\nmodels: [{model: a, parameters: {weight: 0.75}}, {model: b, "
      "parameters: {weight: 0.25}}]\n");
  for (const TensorOrigin& origin : origins(*plan)) {
    CHECK(origin.weights[0] == Approx(0.75).epsilon(1e-5));
    CHECK(origin.weights[1] == Approx(0.25).epsilon(1e-5));
    CHECK(origin.unexplained < 1e-6);
  }
}

TEST_CASE_METHOD(Fixture, "merge statistics: deltas are counted from the base, which has none") {
  const auto [plan, recipe] = merge(
      "merge_method: task_arithmetic\nbase_model: a\nparameters: {normalize: false}\nmodels: "
      "[{model: b, parameters: {weight: 0.5}}, {model: c, parameters: {weight: 0.2}}]\n");
  const Json json = origins_json(*plan, origins(*plan));
  REQUIRE(json["models"].size() == 2);
  CHECK(json["models"][0]["model"] == "b");
  CHECK(json["models"][0]["weight"].get<double>() == Approx(0.5).epsilon(1e-5));
  CHECK(json["models"][1]["weight"].get<double>() == Approx(0.2).epsilon(1e-5));
  CHECK(json["tensors"][0]["change"].get<double>() > 0.1);
}

TEST_CASE_METHOD(Fixture, "merge statistics: what TIES drops is not explained by any mixture") {
  const auto [plan, recipe] = merge(
      "merge_method: ties\nbase_model: a\nparameters: {density: 0.3, weight: 1}\nmodels: [{model: "
      "b}, {model: c}]\n");
  for (const TensorOrigin& origin : origins(*plan)) {
    CHECK(origin.unexplained > 0.05);
    CHECK(origin.unexplained < 1);
  }
}

TEST_CASE_METHOD(Fixture, "merge statistics: equal models have equal weights") {
  fs::copy(scratch / "a", scratch / "same", fs::copy_options::recursive);
  const auto [plan, recipe] = merge(
      "merge_method: linear\nmodels: [{model: a, parameters: {weight: 0.5}}, {model: b, "
      "parameters: {weight: 0.4}}, {model: same, parameters: {weight: 0.1}}]\n");
  for (const TensorOrigin& origin : origins(*plan)) {
    CHECK(origin.weights[0] == Approx(0.3).epsilon(1e-5));
    CHECK(origin.weights[1] == Approx(0.4).epsilon(1e-5));
    CHECK(origin.weights[2] == Approx(0.3).epsilon(1e-5));
  }
}

TEST_CASE_METHOD(Fixture, "merge statistics: the page draws a map of each model and the recipe") {
  const auto [plan, recipe] =
      merge("merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n");
  const std::string page = origins_page(recipe, *plan, origins(*plan));
  CHECK(page.find("Effective weight of a") != page.npos);
  CHECK(page.find("Effective weight of b") != page.npos);
  CHECK(page.find("merge_method: linear") != page.npos);
  CHECK(page.find("||base||") == page.npos);
  CHECK(page.find("<script") == page.npos);
}

TEST_CASE_METHOD(Fixture, "merge card: names recipe, inputs and licences") {
  write_file(scratch / "a" / "README.md", "---\nlicense: apache-2.0\n---\n# a\n");
  write_file(scratch / "b" / "README.md", "---\nlicense: other\nlicense_name: \"llama3\"\n---\n");
  const std::string recipe_text =
      "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n";
  const auto [plan, recipe] = merge(recipe_text);
  const std::string card = read_file(scratch / "out" / "README.md", 1 << 20);
  CHECK(card == model_card(recipe, *plan));
  CHECK(card.find("| `a` | apache-2.0 |") != card.npos);
  CHECK(card.find("| `b` | llama3 |") != card.npos);
  CHECK(card.find("different licences") != card.npos);
  CHECK(card.find("\nlicense:") == card.npos);
  CHECK(card.find(recipe_text) != card.npos);
}

TEST_CASE_METHOD(Fixture, "merge card: a licence that all inputs share is the result's") {
  for (const char* model : {"a", "b"})
    write_file(scratch / model / "README.md", "---\nlicense: mit\n---\n");
  const auto [plan, recipe] =
      merge("merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n");
  CHECK(model_card(recipe, *plan).find("\nlicense: mit\n") != std::string::npos);
}
