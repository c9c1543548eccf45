// Adapters: read, laid over a model, extracted.
#include <set>

#include "tests/merge/adapter_fixture.h"

using namespace lancet;
using namespace lancet::test;

TEST_CASE_METHOD(AdapterFixture, "adapter: W + s B A, with alpha over r, root r, and patterns") {
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

TEST_CASE_METHOD(AdapterFixture, "adapter: DoRA gives each row the length that was learned") {
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

TEST_CASE_METHOD(AdapterFixture,
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

TEST_CASE_METHOD(AdapterFixture,
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

TEST_CASE_METHOD(AdapterFixture, "adapter: what does not fit its model is refused by name") {
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
  save("blocks", one_module(b, a), {{"use_bdlora", {{"nblocks", 2}}}});
  CHECK_THAT(refusal("blocks", ErrorKind::kMismatch), Catch::Contains("use_bdlora"));
  for (const char* begin : {"pissa", "pissa_niter_16", "olora", "corda", "loftq", "lora_ga"}) {
    save("begun", one_module(b, a), {{"init_lora_weights", begin}});
    CHECK_THAT(refusal("begun", ErrorKind::kMismatch),
               Catch::Contains("init_lora_weights") && Catch::Contains(begin));
  }
  for (const Json& begin :
       {Json(true), Json(false), Json("gaussian"), Json("eva"), Json("orthogonal")}) {
    save("plain", one_module(b, a),
         {{"init_lora_weights", begin}, {"corda_config", {{"corda_method", "ipm"}}}});
    CHECK_NOTHROW(ModelSource::open(scratch / "base", scratch / "plain"));
  }
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

TEST_CASE_METHOD(AdapterFixture, "adapter: a value that is not finite is named with its tensor") {
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

TEST_CASE_METHOD(AdapterFixture,
                 "adapter extract: a low-rank change comes back, with all of its energy") {
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

TEST_CASE_METHOD(AdapterFixture, "adapter extract: other changes are named, or saved whole") {
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

TEST_CASE_METHOD(AdapterFixture,
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

TEST_CASE_METHOD(AdapterFixture, "adapter: factors are written in the dtype that is asked for") {
  save_base();
  save("lora", one_module(random_values(10, 4), random_values(12, 5)), {});
  const ModelSource base = ModelSource::open(scratch / "base");
  const ModelSource tuned = ModelSource::open(scratch / "base", scratch / "lora");
  Extracted half = extract_adapter(jacobi(), base, tuned, {.rank = 2, .dtype = DType::kBF16});
  save_adapter(scratch / "half", std::move(half.file), false);
  const auto written = Adapter::open(scratch / "half");
  for (const TensorInfo& tensor : written->checkpoint().tensors())
    CHECK(tensor.dtype == DType::kBF16);
  Extracted large = extract_adapter(jacobi(), base, tuned, {.rank = 2, .dtype = DType::kF16});
  large.file.modules[0].a[0] = 7e4F;
  const auto error = error_of([&] { save_adapter(scratch / "large", large.file, false); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kNumeric);
}
