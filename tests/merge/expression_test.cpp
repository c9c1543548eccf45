// expression: of a recipe, and what recipes do to merged deltas (post, lines).
#include "merge/run.h"
#include "tests/catch.h"
#include "tests/merge/memory.h"

using namespace lancet;
using namespace lancet::test;

namespace {

NamedTensors tiny(unsigned seed) {
  NamedTensors out;
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape) {
    std::size_t n = 1;
    for (const auto d : shape) n *= static_cast<std::size_t>(d);
    out[name] = {shape, random_values(n, seed + static_cast<unsigned>(out.size()), 0.02)};
  };
  add("model.embed_tokens.weight", {12, 8});
  for (int l = 0; l < 3; ++l) {
    add("model.layers." + std::to_string(l) + ".mlp.up_proj.weight", {16, 8});
    add("model.layers." + std::to_string(l) + ".input_layernorm.weight", {8});
  }
  add("model.norm.weight", {8});
  add("lm_head.weight", {12, 8});
  return out;
}

struct Fixture {
  Scratch scratch;
  std::map<std::string, NamedTensors> models;
  Fixture() {
    unsigned seed = 1;
    for (const std::string name : {"a", "b", "c"}) {
      models[name] = tiny(seed += 100);
      save_model(scratch / name, models[name], DType::kF32,
                 {{"model_type", "llama"}, {"num_hidden_layers", 3}, {"vocab_size", 12}});
    }
  }

  /// The tensors of what a recipe makes.
  NamedTensors run(const std::string& recipe) {
    const RecipeFile file = parse_recipe(recipe, "r.yml", scratch.path());
    MergeOptions options;
    options.linalg = &jacobi();
    const fs::path out = scratch / "out.safetensors";
    run_merge(file, *plan_merge(file, options), out, {.force = true});
    const ModelSource source = ModelSource::open(out);
    NamedTensors result;
    for (const TensorInfo& tensor : source.tensors()) {
      std::vector<float> values(tensor.elements());
      source.read_f32(tensor, 0, tensor.shape[0], values);
      result[tensor.name] = {tensor.shape, {values.begin(), values.end()}};
    }
    return result;
  }

  /// Of an expression over a, b and c.
  NamedTensors expression(const std::string& text) {
    return run("expression: " + text + "\nmodels: {a: a, b: b, c: c}\n");
  }

  void check_sum(const NamedTensors& found, double a, double b, double c) {
    for (const auto& [name, tensor] : found) {
      for (std::size_t i = 0; i < tensor.second.size(); ++i) {
        const double expected = a * models["a"][name].second[i] + b * models["b"][name].second[i] +
                                c * models["c"][name].second[i];
        REQUIRE(tensor.second[i] == Approx(expected).margin(1e-8));
      }
    }
  }
};

std::string refusal(const std::string& text) {
  const auto error = error_of([&] {
    static_cast<void>(parse_recipe(
        "expression: " + text + "\nmodels: {base: a, coder: b, chat: c}\n", "r.yml", "."));
  });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kUsage);
  return error->message() + " | " + error->hint();
}

}  // namespace

TEST_CASE_METHOD(Fixture, "expression: sums of models and of differences") {
  check_sum(expression("a + 0.6*(b - a) + 0.4*(c - a)"), 0, .6, .4);
  check_sum(expression("a + 0.5*(b - c)"), 1, .5, -.5);
  check_sum(expression("-(a - 2*b)/4 + 1.5e-1*c"), -.25, .5, .15);
  check_sum(expression("\"(1 + 2) * a - 2*a\""), 1, 0, 0);
}

TEST_CASE_METHOD(Fixture,
                 "expression: a model added to its own difference comes back bit for bit") {
  CHECK(expression("a + 0.6*(a - a)") == models["a"]);
  CHECK(expression("b") == models["b"]);
}

TEST_CASE_METHOD(Fixture, "expression: calls of methods equal the recipes that say the same") {
  const NamedTensors ties = run(
      "merge_method: ties\nbase_model: a\nparameters: {density: 0.3, weight: 1}\nmodels: [{model: "
      "b}, {model: c}]\n");
  CHECK(expression("a + ties(b - a, c - a; density=0.3)") == ties);
  const NamedTensors weighted =
      run("merge_method: ties\nbase_model: a\nparameters: {density: 0.3}\nmodels: [{model: b, "
          "parameters: {weight: 0.5}}, {model: c, parameters: {weight: -1}}]\n");
  CHECK(expression("a + ties(b - a, c - a; weight=[0.5, -1], density=0.3)") == weighted);
  const NamedTensors slerp =
      run("merge_method: slerp\nbase_model: a\nparameters: {t: 0.3}\nmodels: [{model: a}, {model: "
          "b}]\n");
  CHECK(expression("slerp(a, b; t=0.3)") == slerp);
}

TEST_CASE_METHOD(Fixture, "expression: a factor of an argument scales its difference") {
  check_sum(expression("a + ties(0.5*(b - a))"), .5, .5, 0);
  check_sum(expression("a + task_arithmetic(0.5*(b - a), a - c; weight=[1, 3])"), 3.5, .5, -3);
  check_sum(expression("a + magmax(0.25*(b - a))"), .75, .25, 0);  // it has no weights
  for (const std::string call : {"ties(X, c - a; density=0.3)", "nuslerp(X, c - a; weight=[1, 2])",
                                 "dare_linear(c - a, X; density=1)"}) {
    INFO(call);
    std::string scaled = call, staged = call;
    scaled.replace(call.find('X'), 1, "0.5*(b - a)");
    staged.replace(call.find('X'), 1, "x - a");
    const NamedTensors expected =
        run("name: x\nexpression: a + 0.5*(b - a)\nmodels: {a: a, b: b}\n"
            "dtype: float64\n---\nexpression: a + " +
            staged + "\nmodels: {a: a, x: x, c: c}\n");
    const NamedTensors found = expression("a + " + scaled);
    for (const auto& [name, tensor] : expected) {
      for (std::size_t i = 0; i < tensor.second.size(); ++i)
        REQUIRE(found.at(name).second[i] == Approx(tensor.second[i]).margin(1e-7));
    }
  }
}

TEST_CASE_METHOD(Fixture,
                 "expression: a call is computed in float64 and written as its inputs are") {
  for (const auto& [name, tensors] : models)
    save_model(scratch / name, tensors, name == "c" ? DType::kF32 : DType::kBF16,
               {{"model_type", "llama"}, {"num_hidden_layers", 3}, {"vocab_size", 12}});
  const auto dtype = [&](const std::string& text, const std::string& more = "") {
    const RecipeFile file = parse_recipe(
        "expression: " + text + "\nmodels: {a: a, b: b, c: c}\n" + more, "r.yml", scratch.path());
    return plan_merge(file, {})->tensors.at(0).dtype;
  };
  CHECK(dtype("a + ties(b - a)") == DType::kBF16);
  CHECK(dtype("a + 0.5*ties(0.5*(b - a); density=0.5)") == DType::kBF16);
  CHECK(dtype("slerp(a + ties(b - a), b; t=0.5)") == DType::kBF16);
  CHECK(dtype("a + ties(c - a)") == DType::kF32);
  CHECK(dtype("a + ties(b - a)", "dtype: float64\n") == DType::kF64);
}

TEST_CASE_METHOD(Fixture, "expression: calls in calls, in one pass without files between") {
  const NamedTensors nested = expression("slerp(a + tsv_m(b - a, c - a; svd=exact), b; t=0.25)");
  const NamedTensors staged = run(
      "name: one\nmerge_method: tsv_m\nbase_model: a\ndtype: float64\nparameters: {svd: exact}\n"
      "models: [{model: b}, {model: c}]\n"
      "---\nmerge_method: slerp\nbase_model: one\nparameters: {t: 0.25}\ndtype: float32\nmodels: "
      "[{model: one}, {model: b}]\n");
  for (const auto& [name, tensor] : staged) {
    for (std::size_t i = 0; i < tensor.second.size(); ++i)
      REQUIRE(nested.at(name).second[i] == Approx(tensor.second[i]).margin(1e-7));
  }
}

TEST_CASE("expression: errors say line, column and what was meant") {
  CHECK_THAT(refusal("base + 0.6*(codr - base)"), Catch::Contains("r.yml:1:25") &&
                                                      Catch::Contains("unknown model 'codr'") &&
                                                      Catch::Contains("did you mean 'coder'"));
  CHECK_THAT(refusal("base * coder"),
             Catch::Contains("r.yml:1:18") && Catch::Contains("models on both"));
  CHECK_THAT(refusal("base + 1"), Catch::Contains("found the number 1"));
  CHECK_THAT(refusal("base - base"), Catch::Contains("all cancel"));
  CHECK_THAT(refusal("base + (coder"), Catch::Contains("expected ')', found the end"));
  CHECK_THAT(refusal("base / 0"), Catch::Contains("other than 0"));
  CHECK_THAT(refusal("base coder"), Catch::Contains("expected an operator or the end"));
  CHECK_THAT(refusal("base + tis(coder - base)"), Catch::Contains("did you mean 'ties'"));
  CHECK_THAT(refusal("base + ties(coder - base; densty=0.3)"),
             Catch::Contains("did you mean 'density'"));
  CHECK_THAT(refusal("base + ties(coder - base; density=3)"),
             Catch::Contains("r.yml:1:47") && Catch::Contains("[0, 1]"));
  CHECK_THAT(refusal("base + ties(coder - base, chat - base; density=[1])"),
             Catch::Contains("one for each argument"));
  CHECK_THAT(refusal("ties(coder, chat)"), Catch::Contains("expected differences, found models"));
  CHECK_THAT(refusal("base + ties(coder - base, chat)"),
             Catch::Contains("r.yml:1:25") && Catch::Contains("differences that share one model"));
  CHECK_THAT(refusal("karcher(coder - base, chat - base)"),
             Catch::Contains("expected models, found differences"));
  CHECK_THAT(refusal("base + (2*coder - base)*(1"), Catch::Contains("expected ')'"));
}

TEST_CASE_METHOD(Fixture, "expression: a model that is not used is a warning") {
  const RecipeFile file =
      parse_recipe("expression: a\nmodels: {a: a, b: b}\n", "r.yml", scratch.path());
  REQUIRE(file.warnings.size() == 1);
  CHECK_THAT(file.warnings[0], Catch::Contains("does not use 'b'"));
}

TEST_CASE_METHOD(Fixture, "lines: the merged delta grows from the first layer to the last") {
  const std::string recipe =
      "merge_method: task_arithmetic\nbase_model: a\nparameters: {weight: 1}\nmodels: [{model: "
      "b}]\nlines: {alpha: 0.5, beta: 1}\n";
  const std::map<std::string, double> factors{{"model.embed_tokens.weight", .5},
                                              {"model.layers.0.mlp.up_proj.weight", .5},
                                              {"model.layers.1.mlp.up_proj.weight", 1},
                                              {"model.layers.1.input_layernorm.weight", 1},
                                              {"model.layers.2.mlp.up_proj.weight", 1.5},
                                              {"model.norm.weight", 1.5},
                                              {"lm_head.weight", 1.5}};
  const NamedTensors found = run(recipe);
  for (const auto& [name, factor] : factors) {
    INFO(name);
    for (std::size_t i = 0; i < found.at(name).second.size(); ++i) {
      const double a = models["a"][name].second[i], b = models["b"][name].second[i];
      REQUIRE(found.at(name).second[i] == Approx(a + factor * (b - a)).margin(1e-8));
    }
  }
}

TEST_CASE_METHOD(Fixture, "post: spectral parts change matrices and leave embeddings and vectors") {
  const std::string plain =
      "merge_method: task_arithmetic\nbase_model: a\nparameters: {weight: 1}\nmodels: [{model: b}, "
      "{model: c}]\n";
  const NamedTensors before = run(plain);
  for (const std::string post : {"svc", "{svc: {alpha: 0.5}}", "subspace_boosting",
                                 "{subspace_boosting: {threshold: 0.5}, svc: {alpha: 2}}"}) {
    INFO(post);
    const NamedTensors after = run(plain + "post: " + post + "\n");
    for (const auto& [name, tensor] : before)
      CHECK((after.at(name) == tensor) == (name.find("mlp") == std::string::npos));
  }
}

TEST_CASE("post and lines: what cannot hold is refused") {
  const auto message = [](const std::string& text) {
    const auto error = error_of([&] { static_cast<void>(parse_recipe(text, "r.yml", ".")); });
    REQUIRE(error);
    CHECK(error->kind() == ErrorKind::kUsage);
    return error->message() + " | " + error->hint();
  };
  const std::string ties = "merge_method: ties\nbase_model: a\nmodels: [{model: b}]\n";
  CHECK_THAT(message(ties + "post: svd\n"), Catch::Contains("did you mean 'svc'"));
  CHECK_THAT(message(ties + "post: {svc: {alfa: 1}}\n"),
             Catch::Contains("r.yml:4:14") && Catch::Contains("did you mean"));
  CHECK_THAT(message(ties + "lines: {alpha: 1}\n"), Catch::Contains("expected beta"));
  CHECK_THAT(message(ties + "lines: {alpha: 1, beta: x}\n"), Catch::Contains("a number in"));
  CHECK_THAT(message("merge_method: linear\nmodels: [{model: b}]\nlines: {alpha: 1, beta: 0}\n"),
             Catch::Contains("differences from a base_model"));
  CHECK_THAT(message("merge_method: iso_c\nbase_model: a\nmodels: [{model: b}]\npost: svc\n"),
             Catch::Contains("directions of its own"));
  CHECK_THAT(message("merge_method: tsv_m\nbase_model: a\nparameters: {svd: exakt}\nmodels: "
                     "[{model: b}]\n"),
             Catch::Contains("did you mean 'exact'"));
}
