// Adapters: read, laid over a model, extracted, combined.
#include <set>

#include "formats/adapter/overlay.h"
#include "merge/adapter_combine.h"
#include "merge/adapter_extract.h"
#include "tests/catch.h"
#include "tests/merge/memory.h"

using namespace lancet;
using namespace lancet::test;

namespace {

Matrix matrix(std::size_t rows, std::size_t columns, const Values& values) {
  Matrix out(rows, columns);
  out.values = values;
  return out;
}

Matrix times(const Matrix& b, const Matrix& a, double factor = 1) {
  Matrix out = jacobi().multiply(b, a, false, false);
  for (double& value : out.values) value *= factor;
  return out;
}

double distance(const Matrix& a, const Matrix& b) {
  REQUIRE(a.values.size() == b.values.size());
  double out = 0;
  for (std::size_t i = 0; i < a.values.size(); ++i)
    out = std::max(out, std::fabs(a.values[i] - b.values[i]));
  return out;
}

struct Fixture {
  Scratch scratch;

  void save(const std::string& name, const NamedTensors& tensors, const Json& config) {
    save_model(scratch / name, tensors);
    fs::rename(scratch / name / "model.safetensors", scratch / name / "adapter_model.safetensors");
    Json full{{"peft_type", "LORA"}, {"r", 2}, {"lora_alpha", 4}, {"target_modules", {"q"}}};
    if (config.is_object()) full.update(config);
    write_file(scratch / name / "adapter_config.json", dump_json(full));
  }

  static NamedTensors one_module(const Values& b, const Values& a, std::int64_t rank = 2,
                                 const std::string& module = "model.layers.0.q") {
    const std::string prefix = "base_model.model." + module + ".lora_";
    return {{prefix + "A.weight", {{rank, 6}, a}}, {prefix + "B.weight", {{5, rank}, b}}};
  }

  void save_base() {
    save_model(scratch / "base", {{"model.embed.weight", {{7, 6}, random_values(42, 1)}},
                                  {"model.layers.0.q.weight", {{5, 6}, random_values(30, 2)}},
                                  {"model.norm.weight", {{6}, random_values(6, 3)}}});
  }

  Values adapted(const std::string& adapter, const std::string& tensor) {
    const ModelSource source = ModelSource::open(scratch / "base", scratch / adapter);
    const TensorInfo& info = source.at(tensor);
    std::vector<float> out(info.elements());
    source.read_f32(info, 0, info.shape[0], out);
    return {out.begin(), out.end()};
  }

  std::string refusal(const std::string& adapter, ErrorKind kind) {
    const auto error = error_of(
        [&] { static_cast<void>(ModelSource::open(scratch / "base", scratch / adapter)); });
    REQUIRE(error);
    CHECK(error->kind() == kind);
    return error->message() + " | " + error->hint();
  }
};

/// The dense update of the first module of an adapter file.
Matrix update_of(const AdapterFile& file) {
  const LoraFactors& f = file.modules.at(0);
  Matrix b(static_cast<std::size_t>(f.d_out), static_cast<std::size_t>(f.rank)),
      a(static_cast<std::size_t>(f.rank), static_cast<std::size_t>(f.d_in));
  b.values.assign(f.b.begin(), f.b.end());
  a.values.assign(f.a.begin(), f.a.end());
  return times(b, a);
}

}  // namespace

TEST_CASE_METHOD(Fixture, "adapter: W + s B A, with alpha over r, root r, and patterns") {
  save_base();
  const Values b = random_values(10, 4), a = random_values(12, 5), w = random_values(30, 2);
  const std::pair<Json, double> cases[] = {
      {{{"lora_alpha", 4}}, 2},
      {{{"use_rslora", true}}, 4 / std::sqrt(2)},
      {{{"r", 8}, {"rank_pattern", {{"layers.0.q", 2}}}, {"alpha_pattern", {{"q", 1}}}}, .5},
      {{{"r", 8}, {"rank_pattern", {{".*\\.0\\.q", 2}}}}, 2}};
  int number = 0;
  for (const auto& [config, scale] : cases) {
    const std::string name = "adapter" + std::to_string(number++);
    INFO(dump_json(config));
    save(name, one_module(b, a), config);
    const Matrix change = times(matrix(5, 2, b), matrix(2, 6, a), scale);
    const Values found = adapted(name, "model.layers.0.q.weight");
    for (std::size_t i = 0; i < 30; ++i)
      CHECK(found[i] == static_cast<double>(static_cast<float>(w[i] + change.values[i])));
    CHECK(adapted(name, "model.norm.weight") == random_values(6, 3));
  }
}

TEST_CASE_METHOD(Fixture, "adapter: DoRA gives each row the length that was learned") {
  save_base();
  const Values b = random_values(10, 4), a = random_values(12, 5), w = random_values(30, 2);
  NamedTensors tensors = one_module(b, a);
  const Values m{1, 2, 3, 4, 5};
  tensors["base_model.model.model.layers.0.q.lora_magnitude_vector"] = {{5}, m};
  save("dora", tensors, {{"use_dora", true}});
  const Matrix change = times(matrix(5, 2, b), matrix(2, 6, a), 2);
  const Values found = adapted("dora", "model.layers.0.q.weight");
  for (std::size_t r = 0; r < 5; ++r) {
    double norm = 0;
    for (std::size_t c = 0; c < 6; ++c)
      norm += std::pow(w[6 * r + c] + change.values[6 * r + c], 2);
    for (std::size_t c = 0; c < 6; ++c)
      CHECK(found[6 * r + c] ==
            Approx(m[r] * (w[6 * r + c] + change.values[6 * r + c]) / std::sqrt(norm)));
  }
}

TEST_CASE_METHOD(Fixture,
                 "adapter: DoRA on a matrix that lies turned gives each column its length") {
  const Values w = random_values(30, 2), b = random_values(10, 4), a = random_values(12, 5);
  save_model(scratch / "base", {{"model.layers.0.q.weight", {{6, 5}, w}}});
  NamedTensors tensors = one_module(b, a);
  const Values m{1, 2, 3, 4, 5};
  tensors["base_model.model.model.layers.0.q.lora_magnitude_vector"] = {{5}, m};
  save("dora", tensors, {{"use_dora", true}, {"fan_in_fan_out", true}});
  const Matrix change = times(matrix(5, 2, b), matrix(2, 6, a), 2);
  const Values found = adapted("dora", "model.layers.0.q.weight");
  for (std::size_t c = 0; c < 5; ++c) {
    double norm = 0;
    for (std::size_t r = 0; r < 6; ++r)
      norm += std::pow(w[5 * r + c] + change.values[6 * c + r], 2);
    for (std::size_t r = 0; r < 6; ++r)
      CHECK(found[5 * r + c] ==
            Approx(m[c] * (w[5 * r + c] + change.values[6 * c + r]) / std::sqrt(norm)));
  }
}

TEST_CASE_METHOD(Fixture,
                 "adapter: embeddings, whole tensors, and names without the outer module") {
  save_base();
  const std::string prefix = "base_model.model.";
  const Values a = random_values(14, 8), b = random_values(12, 9), norm = random_values(6, 10);
  save("both",
       {{prefix + "embed.lora_embedding_A", {{2, 7}, a}},
        {prefix + "embed.lora_embedding_B", {{6, 2}, b}},
        {prefix + "model.norm.weight", {{6}, norm}}},
       {});
  const Values found = adapted("both", "model.embed.weight"), e = random_values(42, 1);
  for (std::size_t v = 0; v < 7; ++v) {
    for (std::size_t c = 0; c < 6; ++c)
      CHECK(found[6 * v + c] ==
            Approx(e[6 * v + c] + 2 * (b[2 * c] * a[v] + b[2 * c + 1] * a[7 + v])));
  }
  CHECK(adapted("both", "model.norm.weight") == norm);
  // peft saves an adapted embedding whole beside its factors: they are added to it.
  const Values whole = random_values(42, 11);
  save("whole",
       {{prefix + "embed.lora_embedding_A", {{2, 7}, a}},
        {prefix + "embed.lora_embedding_B", {{6, 2}, b}},
        {prefix + "embed.base_layer.weight", {{7, 6}, whole}}},
       {});
  const Values sum = adapted("whole", "model.embed.weight");
  for (std::size_t i = 0; i < 42; ++i)
    CHECK(sum[i] == Approx(whole[i] + found[i] - e[i]).margin(1e-6));
}

TEST_CASE_METHOD(Fixture, "adapter: what does not fit its model is refused by name") {
  save_base();
  const Values b = random_values(10, 4), a = random_values(12, 5);
  save("lost", one_module(b, a, 2, "model.layers.0.qq"), {});
  CHECK_THAT(refusal("lost", ErrorKind::kMismatch),
             Catch::Contains("model.layers.0.qq.weight") && Catch::Contains("did you mean"));
  save("wide", one_module(b, a, 2, "model.embed"), {});
  CHECK_THAT(refusal("wide", ErrorKind::kMismatch), Catch::Contains("[5, 6]"));
  save("rank", one_module(b, a), {{"r", 3}});
  CHECK_THAT(refusal("rank", ErrorKind::kInput), Catch::Contains("expected rank 3"));
  NamedTensors half = one_module(b, a);
  half.erase(half.begin());
  save("half", half, {});
  CHECK_THAT(refusal("half", ErrorKind::kInput), Catch::Contains("lora_A"));
  save("ia3", one_module(b, a), {{"peft_type", "IA3"}});
  CHECK_THAT(refusal("ia3", ErrorKind::kMismatch), Catch::Contains("'IA3'"));
  save("more", one_module(b, a), {{"trainable_token_indices", {1, 2}}});
  CHECK_THAT(refusal("more", ErrorKind::kMismatch), Catch::Contains("trainable_token_indices"));
  NamedTensors unknown = one_module(b, a);
  unknown["base_model.model.model.layers.0.q.lora_C.weight"] = {{2}, {1, 2}};
  save("unknown", unknown, {});
  CHECK_THAT(refusal("unknown", ErrorKind::kMismatch), Catch::Contains("lora_C"));
  save("dora", one_module(b, a), {{"use_dora", true}});
  CHECK_THAT(refusal("dora", ErrorKind::kInput), Catch::Contains("lora_magnitude_vector"));
  save("pattern", one_module(b, a), {{"rank_pattern", {{"(", 2}}}});
  CHECK_THAT(refusal("pattern", ErrorKind::kInput), Catch::Contains("no pattern"));
  // New tokens add rows to a whole embedding; fewer than the model's are another model's.
  const auto embedding = [&](std::int64_t rows) {
    return NamedTensors{{"base_model.model.model.embed.weight",
                         {{rows, 6}, random_values(static_cast<std::size_t>(rows) * 6, 9)}}};
  };
  save("grown", embedding(8), {});
  CHECK_NOTHROW(ModelSource::open(scratch / "base", scratch / "grown"));
  save("shrunk", embedding(6), {});
  CHECK_THAT(refusal("shrunk", ErrorKind::kMismatch),
             Catch::Contains("expected the shape [6, 6] in the model, found [7, 6]"));
}

TEST_CASE_METHOD(Fixture, "adapter: a value that is not finite is named with its tensor") {
  Values b = random_values(10, 4);
  save("fine", one_module(b, random_values(12, 5)), {});
  CHECK_NOTHROW(Adapter::open(scratch / "fine")->check_finite());
  b[3] = std::numeric_limits<double>::quiet_NaN();
  save("bad", one_module(b, random_values(12, 5)), {});
  const auto error = error_of([&] { Adapter::open(scratch / "bad")->check_finite(); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kNumeric);
  CHECK_THAT(error->message(),
             Catch::Contains("layers.0.q.lora_B.weight") && Catch::Contains("element 3"));
}

TEST_CASE_METHOD(Fixture, "adapter extract: a low-rank change comes back, with all of its energy") {
  save_base();
  const Values b = random_values(10, 4), a = random_values(12, 5);
  save("lora", one_module(b, a), {});
  const ModelSource base = ModelSource::open(scratch / "base");
  const ModelSource tuned = ModelSource::open(scratch / "base", scratch / "lora");
  const Matrix change = times(matrix(5, 2, b), matrix(2, 6, a), 2);
  const Extracted found = extract_adapter(jacobi(), base, tuned, {.rank = 2});
  REQUIRE(found.file.modules.size() == 1);
  CHECK(found.file.modules[0].module == "model.layers.0.q");
  CHECK(distance(update_of(found.file), change) < 1e-5);
  CHECK(found.report["energy"].get<double>() == Approx(1).margin(1e-9));
  // Cut short, the energy is that of the triplets kept; asked for by energy, the rank is.
  const Svd svd = jacobi().svd(change);
  const double first = svd.values[0] * svd.values[0] /
                       (svd.values[0] * svd.values[0] + svd.values[1] * svd.values[1]);
  const Extracted cut = extract_adapter(jacobi(), base, tuned, {.rank = 1});
  CHECK(cut.report["energy"].get<double>() == Approx(first).epsilon(1e-5));
  const Extracted least =
      extract_adapter(jacobi(), base, tuned, {.rank = 5, .energy = first * .99});
  CHECK(least.file.modules[0].rank == 1);
  // Layers that the tuned model alone has are not left out in silence.
  save_model(scratch / "deep", {{"model.embed.weight", {{7, 6}, random_values(42, 1)}},
                                {"model.layers.0.q.weight", {{5, 6}, random_values(30, 9)}},
                                {"model.layers.1.q.weight", {{5, 6}, random_values(30, 2)}},
                                {"model.norm.weight", {{6}, random_values(6, 3)}}});
  const auto deeper = error_of([&] {
    static_cast<void>(
        extract_adapter(jacobi(), base, ModelSource::open(scratch / "deep"), {.rank = 1}));
  });
  REQUIRE(deeper);
  CHECK(deeper->kind() == ErrorKind::kMismatch);
  CHECK_THAT(deeper->message(), Catch::Contains("model.layers.1.q.weight"));
  const auto error =
      error_of([&] { static_cast<void>(extract_adapter(jacobi(), base, base, {.rank = 1})); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kMismatch);
}

TEST_CASE_METHOD(Fixture, "adapter extract: other changes are named, or saved whole") {
  save_base();
  const Values norm = random_values(6, 33);
  save("norm", {{"base_model.model.model.norm.weight", {{6}, norm}}}, {});
  NamedTensors both = one_module(random_values(10, 4), random_values(12, 5));
  both["base_model.model.model.norm.weight"] = {{6}, norm};
  save("both", both, {});
  const ModelSource base = ModelSource::open(scratch / "base");
  const ModelSource tuned = ModelSource::open(scratch / "base", scratch / "both");
  CHECK(extract_adapter(jacobi(), base, tuned, {}).report["left_out"] ==
        Json::array({"model.norm.weight"}));
  Extracted whole = extract_adapter(jacobi(), base, tuned, {.save_rest = true});
  save_adapter(scratch / "written", std::move(whole.file), false);
  CHECK(adapted("written", "model.norm.weight") == norm);
  const Values a = adapted("written", "model.layers.0.q.weight"),
               b = adapted("both", "model.layers.0.q.weight");
  for (std::size_t i = 0; i < 30; ++i) CHECK(a[i] == Approx(b[i]).margin(1e-5));
}

TEST_CASE_METHOD(Fixture,
                 "adapter extract: what is saved stands in one of PEFT's lists, modules whole") {
  const auto layers = [](unsigned seed) {
    return NamedTensors{{"model.layers.0.q.bias", {{5}, random_values(5, seed + 1)}},
                        {"model.layers.0.q.weight", {{5, 6}, random_values(30, seed)}},
                        {"model.layers.1.q.bias", {{5}, random_values(5, seed + 2)}},
                        {"model.layers.1.q.weight", {{5, 6}, random_values(30, 3)}},
                        {"model.norm.bias", {{6}, random_values(6, 4)}},
                        {"model.norm.weight", {{6}, random_values(6, seed)}}};
  };
  save_model(scratch / "base", layers(2));
  save_model(scratch / "tuned", layers(9));
  const ModelSource base = ModelSource::open(scratch / "base");
  const ModelSource tuned = ModelSource::open(scratch / "tuned");
  Extracted whole = extract_adapter(jacobi(), base, tuned, {.save_rest = true});
  save_adapter(scratch / "written", std::move(whole.file), false);
  const Json config = read_json(scratch / "written" / "adapter_config.json", 1 << 20);
  CHECK(config["target_modules"] == Json::array({"model.layers.0.q"}));
  CHECK(config["bias"] == "lora_only");
  CHECK(config["modules_to_save"] == Json::array({"model.layers.1.q", "model.norm"}));
  const auto written = Adapter::open(scratch / "written");
  std::set<std::string> names;
  for (const TensorInfo& tensor : written->checkpoint().tensors()) names.insert(tensor.name);
  const std::string prefix = "base_model.model.model.";
  CHECK(names == std::set<std::string>{
                     prefix + "layers.0.q.base_layer.bias", prefix + "layers.0.q.lora_A.weight",
                     prefix + "layers.0.q.lora_B.weight", prefix + "layers.1.q.bias",
                     prefix + "layers.1.q.weight", prefix + "norm.bias", prefix + "norm.weight"});
  CHECK_NOTHROW(written->check_lists());
  for (const auto& [name, tensor] : layers(9)) {
    const Values found = adapted("written", name);
    for (std::size_t i = 0; i < found.size(); ++i)
      CHECK(found[i] == Approx(tensor.second[i]).margin(1e-5));
  }
  save("clash", one_module(random_values(10, 4), random_values(12, 5)),
       {{"modules_to_save", {"layers.0.q"}}});
  const auto error = error_of([&] { Adapter::open(scratch / "clash")->check_lists(); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kMismatch);
  CHECK_THAT(error->message(), Catch::Contains("modules_to_save"));
}

TEST_CASE_METHOD(Fixture, "adapter: factors are written in the dtype that is asked for") {
  save_base();
  save("lora", one_module(random_values(10, 4), random_values(12, 5)), {});
  const ModelSource base = ModelSource::open(scratch / "base");
  const ModelSource tuned = ModelSource::open(scratch / "base", scratch / "lora");
  Extracted half = extract_adapter(jacobi(), base, tuned, {.rank = 2, .dtype = DType::kBF16});
  save_adapter(scratch / "half", std::move(half.file), false);
  for (const TensorInfo& tensor : Adapter::open(scratch / "half")->checkpoint().tensors())
    CHECK(tensor.dtype == DType::kBF16);
  Extracted large = extract_adapter(jacobi(), base, tuned, {.rank = 2, .dtype = DType::kF16});
  large.file.modules[0].a[0] = 7e4F;
  const auto error = error_of([&] { save_adapter(scratch / "large", large.file, false); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kNumeric);
}

TEST_CASE_METHOD(Fixture, "adapter combine: adapters of different bases are refused or warned of") {
  const auto adapter = [&](const std::string& name, const Json& config) {
    save(name, one_module(random_values(10, 4), random_values(12, 5)), config);
    return Adapter::open(scratch / name);
  };
  const auto base = [](const std::string& name) { return Json{{"base_model_name_or_path", name}}; };
  const auto one = adapter("one", base("llama")), same = adapter("same", base("llama/")),
             none = adapter("none", {}), two = adapter("two", base("qwen")),
             turned =
                 adapter("turned", {{"base_model_name_or_path", "gpt2"}, {"fan_in_fan_out", true}});
  CombineOptions options;
  options.weights = {1, 1};
  const auto warnings = [&](const auto& a, const auto& b) {
    return combine_adapters(nullptr, {a, b}, options).report["warnings"];
  };
  CHECK(warnings(one, same).empty());
  CHECK(warnings(one, none).empty());
  REQUIRE(warnings(one, two).size() == 1);
  CHECK_THAT(warnings(one, two)[0].template get<std::string>(),
             Catch::Contains("'llama'") && Catch::Contains("'qwen'"));
  const auto error = error_of([&] { static_cast<void>(warnings(one, turned)); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kMismatch);
}

TEST_CASE_METHOD(Fixture,
                 "adapter combine: cat, svd, core_space and knots sum the updates exactly") {
  const Values b1 = random_values(10, 4), a1 = random_values(12, 5), b2 = random_values(5, 6),
               a2 = random_values(6, 7);
  save("one", one_module(b1, a1), {});
  save("two", one_module(b2, a2, 1), {{"r", 1}, {"lora_alpha", 3}});
  const std::vector<std::shared_ptr<const Adapter>> adapters{Adapter::open(scratch / "one"),
                                                             Adapter::open(scratch / "two")};
  Matrix expected = times(matrix(5, 2, b1), matrix(2, 6, a1), 2 * .7);
  add_scaled(expected, times(matrix(5, 1, b2), matrix(1, 6, a2), 3 * -.4), 1);
  CombineOptions options;
  options.weights = {.7, -.4};
  options.inner = find_merge_method("task_arithmetic");
  for (const std::string method : {"cat", "svd", "core_space", "knots"}) {
    INFO(method);
    options.method = method;
    options.rank = method == "cat" ? 0 : 3;
    const Combined found = combine_adapters(&jacobi(), adapters, options);
    CHECK(found.file.modules.at(0).rank == 3);
    CHECK(distance(update_of(found.file), expected) < 1e-5);
  }
  // Rank 1: the best approximation there is.
  options.method = "svd";
  options.rank = 1;
  const Combined cut = combine_adapters(&jacobi(), adapters, options);
  Matrix rest = expected;
  add_scaled(rest, update_of(cut.file), -1);
  const Svd svd = jacobi().svd(expected);
  const double best = svd.values[1] * svd.values[1] + svd.values[2] * svd.values[2];
  CHECK(squared_norm(rest) == Approx(best).epsilon(1e-4));
  CHECK(cut.report["modules"][0]["energy"].get<double>() ==
        Approx(1 - best / squared_norm(expected)).epsilon(1e-4));
}

TEST_CASE_METHOD(Fixture,
                 "adapter combine: linear adds factors, and refuses other ranks and DoRA") {
  const Values b1 = random_values(10, 4), a1 = random_values(12, 5), b2 = random_values(10, 6),
               a2 = random_values(12, 7);
  save("one", one_module(b1, a1), {});
  save("two", one_module(b2, a2), {{"lora_alpha", 6}});
  CombineOptions options;
  options.method = "linear";
  options.weights = {.7, .4};
  options.inner = find_merge_method("task_arithmetic");
  const Combined found = combine_adapters(
      nullptr, {Adapter::open(scratch / "one"), Adapter::open(scratch / "two")}, options);
  Matrix b = matrix(5, 2, b1), a = matrix(2, 6, a1);
  for (double& v : b.values) v *= std::sqrt(.7 * 2);
  for (double& v : a.values) v *= std::sqrt(.7 * 2);
  add_scaled(b, matrix(5, 2, b2), std::sqrt(.4 * 3));
  add_scaled(a, matrix(2, 6, a2), std::sqrt(.4 * 3));
  CHECK(distance(update_of(found.file), times(b, a)) < 1e-5);
  save("three", one_module(random_values(5, 6), random_values(6, 7), 1), {{"r", 1}});
  const auto error = error_of([&] {
    static_cast<void>(combine_adapters(
        nullptr, {Adapter::open(scratch / "one"), Adapter::open(scratch / "three")}, options));
  });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kMismatch);
}

TEST_CASE_METHOD(Fixture,
                 "adapter combine: an inner method in core space is that method on the cores") {
  const Values b1 = random_values(10, 4), a1 = random_values(12, 5), b2 = random_values(10, 6),
               a2 = random_values(12, 7);
  save("one", one_module(b1, a1), {});
  save("two", one_module(b2, a2), {});
  CombineOptions options;
  options.weights = {1, 1};
  options.inner = find_merge_method("magmax");
  options.rank = 4;
  const std::vector<std::shared_ptr<const Adapter>> adapters{Adapter::open(scratch / "one"),
                                                             Adapter::open(scratch / "two")};
  const std::vector<Matrix> bs{matrix(5, 2, b1), matrix(5, 2, b2)},
      as{matrix(2, 6, a1), matrix(2, 6, a2)};
  options.method = "core_space";
  const Matrix left = jacobi().svd(beside(bs)).left, right = jacobi().svd(below(as)).right;
  std::vector<Matrix> cores;
  for (std::size_t i = 0; i < 2; ++i)
    cores.push_back(
        times(jacobi().multiply(left, times(bs[i], as[i], 2), true, false), transposed(right)));
  Matrix core = cores[0];
  for (std::size_t i = 0; i < core.values.size(); ++i) {
    if (std::fabs(cores[1].values[i]) > std::fabs(core.values[i]))
      core.values[i] = cores[1].values[i];
  }
  CHECK(distance(update_of(combine_adapters(&jacobi(), adapters, options).file),
                 times(times(left, core), right)) < 1e-5);
  options.method = "knots";
  const Svd svd =
      jacobi().svd(beside(std::vector<Matrix>{times(bs[0], as[0], 2), times(bs[1], as[1], 2)}));
  Matrix rights = columns_of(svd.right, 0, 6);
  const Matrix other = columns_of(svd.right, 6, 12);
  for (std::size_t i = 0; i < rights.values.size(); ++i) {
    if (std::fabs(other.values[i]) > std::fabs(rights.values[i]))
      rights.values[i] = other.values[i];
  }
  Matrix expected = svd.left;
  scale_columns(expected, svd.values);
  expected = times(expected, rights);
  CHECK(distance(update_of(combine_adapters(&jacobi(), adapters, options).file), expected) < 1e-5);
}

TEST_CASE_METHOD(Fixture, "adapter combine: options and adapters without a result are refused") {
  const Values b = random_values(10, 4), a = random_values(12, 5);
  save("one", one_module(b, a), {});
  save("two", one_module(random_values(10, 6), random_values(12, 7)), {});
  save("other", one_module(b, a, 2, "model.layers.1.q"), {});
  const auto refusal = [&](const CombineOptions& options, ErrorKind kind,
                           const std::string& second = "two") {
    const auto error = error_of([&] {
      static_cast<void>(combine_adapters(
          &jacobi(), {Adapter::open(scratch / "one"), Adapter::open(scratch / second)}, options));
    });
    REQUIRE(error);
    CHECK(error->kind() == kind);
    return error->message();
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CombineOptions options{.weights = {1, nan}, .inner = find_merge_method("task_arithmetic")};
  CHECK_THAT(refusal(options, ErrorKind::kUsage), Catch::Contains("finite"));
  options.weights = {1, 1e300};
  CHECK_THAT(refusal(options, ErrorKind::kNumeric), Catch::Contains("range of float32"));
  options.weights = {1, 1};
  options.method = "core_space";
  options.inner = find_merge_method("slerp");
  CHECK_THAT(refusal(options, ErrorKind::kUsage), Catch::Contains("at most 1 adapter, found 2"));
  options.inner = find_merge_method("model_stock");
  options.weights = {1, 0.5};
  CHECK_THAT(refusal(options, ErrorKind::kUsage), Catch::Contains("model_stock has none"));
  options.inner = find_merge_method("ties");
  options.settings = {{"weight", 2}};
  CHECK_THAT(refusal(options, ErrorKind::kUsage), Catch::Contains("in --weights"));
  options.settings.clear();
  options.weights = {1, 1};
  options.inner = find_merge_method("model_stock");
  CHECK_THAT(refusal(options, ErrorKind::kMismatch, "other"),
             Catch::Contains("at least 2 adapters, found 1"));
  // One adapter alone: t of nearswap has no default.
  options.inner = find_merge_method("nearswap");
  options.weights = {1};
  const auto error = error_of([&] { check_combine(options, 1); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kUsage);
  CHECK_THAT(error->message(), Catch::Contains("expected a value of t"));
  options.settings = {{"t", 0.3}};
  CHECK_NOTHROW(check_combine(options, 1));
  save("nan", one_module(Values(10, nan), a), {});
  options = {.weights = {1, 1}, .inner = find_merge_method("task_arithmetic")};
  CHECK_THAT(refusal(options, ErrorKind::kNumeric, "nan"), Catch::Contains("lora_B.weight"));
}
