// From recipe to files: what is written and refused. Resuming: resume_test.cpp.
#include "core/parallel.h"
#include "formats/output_journal.h"
#include "merge/estimate.h"
#include "tests/catch.h"
#include "tests/merge/run_fixture.h"

using namespace lancet;
using namespace lancet::test;

TEST_CASE_METHOD(Fixture, "merge: a linear recipe writes a model whose tensors are the means") {
  const Json result = merge(kLinear, scratch.path(), scratch / "out");
  CHECK(result["tensors"] == 9);
  CHECK(result["resumed"] == 0);
  for (const std::string name :
       {"model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight", "model.norm.weight"}) {
    const Values a = values_of(scratch / "a", name), b = values_of(scratch / "b", name),
                 out = values_of(scratch / "out", name);
    for (std::size_t i = 0; i < out.size(); ++i)
      CHECK(out[i] == static_cast<double>(static_cast<float>(.75 * a[i] + .25 * b[i])));
  }
  const Json manifest = read_json(scratch / "out" / "lancet.json");
  CHECK(manifest["recipe"] == kLinear);
  CHECK(manifest["outputs"][0]["sha256"] == sha256_file(scratch / "out" / "model.safetensors"));
  CHECK(read_json(scratch / "out" / "config.json")["num_hidden_layers"] == 2);
  CHECK(scratch.entries() == 4);
}

TEST_CASE_METHOD(Fixture, "merge: shards, single file and threads hold the same values") {
  const Json one = merge(kTies, scratch.path(), scratch / "one.safetensors");
  const ModelSource expected = ModelSource::open(scratch / "one.safetensors");
  for (const int threads : {1, 2, 5}) {
    parallel::set_threads(threads);
    const fs::path out = scratch / ("sharded" + std::to_string(threads));
    merge(kTies, scratch.path(), out,
          {.shard_size = 700, .memory = threads == 5 ? 64ULL << 20 : 1ULL << 30});
    CHECK(fs::exists(out / "model.safetensors.index.json"));
    for (const TensorInfo& tensor : expected.tensors()) {
      CHECK(values_of(out, tensor.name) == values_of(scratch / "one.safetensors", tensor.name));
    }
    CHECK(weights_hash(out) == weights_hash(scratch / "sharded1"));
  }
  parallel::set_threads(0);
}

TEST_CASE_METHOD(Fixture,
                 "merge: NaN in an input is exit 5 and names tensor and model; nothing is left") {
  NamedTensors bad = tiny(1);
  bad["model.norm.weight"].second[3] = std::nan("");
  save_model(scratch / "b", bad, DType::kBF16, kConfig);
  const auto before = scratch.entries();
  const auto error = error_of([&] { merge(kLinear, scratch.path(), scratch / "out"); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kNumeric);
  CHECK_THAT(error->message(), Catch::Contains("model.norm.weight") && Catch::Contains("'b'") &&
                                   Catch::Contains("element 3"));
  CHECK_FALSE(fs::exists(scratch / "out"));
  CHECK(scratch.entries() == before);
}

TEST_CASE_METHOD(Fixture,
                 "merge: bfloat16 is ranked from its bytes as the same values in float32 are") {
  for (const std::string name : {"a", "b", "c"}) {
    NamedTensors rounded;
    const ModelSource source = ModelSource::open(scratch / name);
    for (const TensorInfo& tensor : source.tensors()) {
      Values values = values_of(scratch / name, tensor.name);
      for (double& v : values)
        v = std::bit_cast<float>(std::bit_cast<std::uint32_t>(static_cast<float>(v)) & 0xFFFF0000U);
      rounded[tensor.name] = {tensor.shape, values};
    }
    save_model(scratch / "stored" / name, rounded, DType::kBF16, kConfig);
    save_model(scratch / "wide" / name, rounded, DType::kF32, kConfig);
  }
  for (const std::string method : {"ties", "breadcrumbs", "breadcrumbs_ties"}) {
    std::string recipe = kTies;
    recipe.replace(recipe.find("ties"), 4, method);
    recipe += "out_dtype: bfloat16\n";
    merge(recipe, scratch / "stored", scratch / ("stored_" + method));
    merge(recipe, scratch / "wide", scratch / ("wide_" + method));
    CHECK(weights_hash(scratch / ("stored_" + method)) ==
          weights_hash(scratch / ("wide_" + method)));
  }
  const std::string sce =
      "merge_method: sce\nbase_model: c\nparameters: {select_topk: 0.3}\n"
      "models: [{model: a}, {model: b}]\nout_dtype: bfloat16\n";
  merge(sce, scratch / "stored", scratch / "stored_sce");
  merge(sce, scratch / "wide", scratch / "wide_sce");
  CHECK(weights_hash(scratch / "stored_sce") == weights_hash(scratch / "wide_sce"));
}

TEST_CASE_METHOD(Fixture, "merge: a result that the dtype cannot hold is exit 5") {
  const auto error = error_of([&] {
    merge(
        "merge_method: linear\ndtype: float16\nparameters: {weight: 1000000, normalize: "
        "false}\nmodels: [{model: a}, {model: b}]\n",
        scratch.path(), scratch / "out.safetensors");
  });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kNumeric);
  CHECK_THAT(error->message(), Catch::Contains("F16"));
}

TEST_CASE_METHOD(
    Fixture, "merge: other shapes, tensors and architectures are exit 4 with both sides named") {
  const auto refused = [&](const NamedTensors& tensors, const Json& config) {
    save_model(scratch / "b", tensors, DType::kF32, config);
    const auto error = error_of([&] { merge(kLinear, scratch.path(), scratch / "out"); });
    REQUIRE(error);
    CHECK(error->kind() == ErrorKind::kMismatch);
    return error->message() + " | " + error->hint();
  };
  CHECK_THAT(refused(tiny(2, 16), kConfig),
             Catch::Contains("'a'") && Catch::Contains("'b'") && Catch::Contains("[12, 8]") &&
                 Catch::Contains("[16, 8]") && Catch::Contains("tokenizer_source"));
  NamedTensors less = tiny(2);
  less.erase("model.norm.weight");
  CHECK_THAT(refused(less, kConfig),
             Catch::Contains("'model.norm.weight' stands in 'a' and not in 'b'"));
  NamedTensors more = tiny(2);
  more["model.extra.weight"] = {{2}, {1, 2}};
  CHECK_THAT(refused(more, kConfig),
             Catch::Contains("'model.extra.weight' stands in 'b' and not in 'a'"));
  Json other = kConfig;
  other["model_type"] = "gemma";
  CHECK_THAT(refused(tiny(2), other), Catch::Contains("llama") && Catch::Contains("gemma"));
}

TEST_CASE_METHOD(Fixture, "merge: slices restack layers and the configuration says how many") {
  const std::string stack =
      "merge_method: passthrough\nslices:\n  - sources: [{model: a, layer_range: [0, 2]}]\n  - "
      "sources: [{model: b, layer_range: [1, 2]}]\n";
  merge(stack, scratch.path(), scratch / "out");
  CHECK(read_json(scratch / "out" / "config.json")["num_hidden_layers"] == 3);
  const std::string up = ".mlp.up_proj.weight";
  CHECK(values_of(scratch / "out", "model.layers.2" + up) ==
        values_of(scratch / "b", "model.layers.1" + up));
  CHECK(values_of(scratch / "out", "model.embed_tokens.weight") ==
        values_of(scratch / "a", "model.embed_tokens.weight"));
  CHECK(values_of(scratch / "out", "lm_head.weight") == values_of(scratch / "b", "lm_head.weight"));
  const auto error = error_of([&] {
    merge("merge_method: passthrough\nslices: [{sources: [{model: a, layer_range: [0, 3]}]}]\n",
          scratch.path(), scratch / "no");
  });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kUsage);
  CHECK_THAT(error->message(), Catch::Contains("at most 2"));
}

TEST_CASE_METHOD(
    Fixture,
    "merge: filters choose by tensor, gradients by layer, and idle ones are warned about") {
  const Json result = merge(
      "merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]\nparameters:\n  t:\n   "
      " - {filter: self_attn, value: [0, 1]}\n"
      "    - {filter: nowhere, value: 0.3}\n    - {value: 1}\n",
      scratch.path(), scratch / "out");
  const std::string q = ".self_attn.q_proj.weight";
  CHECK(values_of(scratch / "out", "model.layers.0" + q) ==
        values_of(scratch / "a", "model.layers.0" + q));
  CHECK(values_of(scratch / "out", "model.layers.1" + q) ==
        values_of(scratch / "b", "model.layers.1" + q));
  CHECK(values_of(scratch / "out", "lm_head.weight") == values_of(scratch / "b", "lm_head.weight"));
  REQUIRE(result["warnings"].size() == 1);
  CHECK_THAT(result["warnings"][0].get<std::string>(),
             Catch::Contains("r.yml:7:7") && Catch::Contains("'nowhere'"));
}

TEST_CASE_METHOD(Fixture, "merge: a missing weight is refused for the model that lacks it") {
  const auto error = error_of([&] {
    merge("merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}, {model: b}]\n",
          scratch.path(), scratch / "out");
  });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kUsage);
  CHECK_THAT(error->message(), Catch::Contains("'weight'") && Catch::Contains("'b'"));
}

TEST_CASE_METHOD(Fixture, "merge: tied and untied heads are reconciled in all four combinations") {
  const auto tied_model = [&](const char* name, unsigned seed) {
    NamedTensors tensors = tiny(seed);
    tensors.erase("lm_head.weight");
    Json config = kConfig;
    config["tie_word_embeddings"] = true;
    save_model(scratch / name, tensors, DType::kF32, config);
  };
  tied_model("ta", 1);
  tied_model("tb", 100);
  for (const std::string first : {"a", "ta"}) {
    for (const std::string second : {"b", "tb"}) {
      const fs::path out = scratch / ("out_" + first + second);
      merge("merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: " + first +
                "}, {model: " + second + "}]\n",
            scratch.path(), out);
      const bool tied = first == "ta" && second == "tb";
      INFO(first << " " << second);
      CHECK((ModelSource::open(out).find("lm_head.weight") == nullptr) == tied);
      CHECK(read_json(out / "config.json")["tie_word_embeddings"] == tied);
      if (tied) continue;
      const Values x =
          values_of(scratch / first, first == "a" ? "lm_head.weight" : "model.embed_tokens.weight");
      const Values y = values_of(scratch / second,
                                 second == "b" ? "lm_head.weight" : "model.embed_tokens.weight");
      const Values head = values_of(out, "lm_head.weight");
      for (std::size_t i = 0; i < head.size(); ++i)
        CHECK(head[i] == static_cast<double>(static_cast<float>((x[i] + y[i]) / 2)));
    }
  }
}

TEST_CASE_METHOD(Fixture,
                 "merge: a recipe of several documents equals its stages run one after the other") {
  const std::string stage =
      "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n";
  const std::string last =
      "merge_method: task_arithmetic\nbase_model: a\nparameters: {weight: 0.5}\nmodels: [{model: "
      "STAGE}, {model: c}]\n";
  const auto with = [&](const std::string& name) {
    return std::string(last).replace(last.find("STAGE"), 5, name);
  };
  merge(stage, scratch.path(), scratch / "middle");
  merge(with("middle"), scratch.path(), scratch / "apart");
  merge("name: half\n" + stage + "---\n" + with("half"), scratch.path(), scratch / "together");
  CHECK(weights_hash(scratch / "apart") == weights_hash(scratch / "together"));
  CHECK_FALSE(fs::exists(scratch / "half"));
  const auto error = error_of([&] {
    merge("name: x\n" + with("y") + "---\nname: y\n" + with("x"), scratch.path(),
          scratch / "never");
  });
  REQUIRE(error);
  CHECK_THAT(error->message(), Catch::Contains("needs itself"));
}

TEST_CASE_METHOD(Fixture, "merge: integer tensors are copied when equal and refused when not") {
  const auto with_ids = [&](const char* name, double last) {
    NamedTensors tensors = tiny(7);
    save_model(scratch / name, tensors, DType::kF32, kConfig);
    std::vector<OutputTensor> ids{
        {"ids", DType::kI64, {3}, [last](const std::function<void(Bytes)>& emit) {
           const std::array<std::int64_t, 3> v{0, 1, static_cast<std::int64_t>(last)};
           emit(std::as_bytes(std::span(v)));
         }}};
    save_safetensors(scratch / name / "model.safetensors", std::move(ids), {});
  };
  with_ids("a", 2);
  with_ids("b", 2);
  merge(kLinear, scratch.path(), scratch / "out");
  CHECK(ModelSource::open(scratch / "out").at("ids").dtype == DType::kI64);
  with_ids("b", 3);
  const auto error = error_of([&] { merge(kLinear, scratch.path(), scratch / "out2"); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kMismatch);
}

TEST_CASE_METHOD(
    Fixture,
    "merge: chat_template takes the most common one, a name, or Jinja, and refuses the rest") {
  write_file(scratch / "b" / "chat_template.jinja", "{{ 'from b' }} and more text");
  const auto with = [&](const std::string& value, const std::string& out) {
    merge(kLinear + "chat_template: " + value + "\n", scratch.path(), scratch / out);
    return read_file(scratch / out / "chat_template.jinja");
  };
  CHECK(with("auto", "o1") == "{{ 'from b' }} and more text");
  CHECK_THAT(with("chatml", "o2"), Catch::Contains("<|im_start|>"));
  CHECK(with("\"{% for m in messages %}{{ m }}{% endfor %}\"", "o3") ==
        "{% for m in messages %}{{ m }}{% endfor %}");
  // A base's other templates come along, unless the recipe says which one it is.
  fs::create_directories(scratch / "a" / "additional_chat_templates");
  write_file(scratch / "a" / "additional_chat_templates" / "tool_use.jinja", "tools");
  merge(kLinear, scratch.path(), scratch / "base");
  CHECK(read_file(scratch / "base" / "additional_chat_templates" / "tool_use.jinja") == "tools");
  static_cast<void>(with("chatml", "o5"));
  CHECK_FALSE(fs::exists(scratch / "o5" / "additional_chat_templates"));
  const auto error = error_of([&] { with("chatmll", "o4"); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kUsage);
  CHECK(error->hint() == "did you mean 'chatml'?");
  const Json none = merge("merge_method: passthrough\nchat_template: auto\nmodels: [{model: c}]\n",
                          scratch.path(), scratch / "o6");
  REQUIRE(none["warnings"].size() == 1);
  CHECK_THAT(none["warnings"][0].get<std::string>(), Catch::Contains("r.yml:2:16: chat_template"));
  CHECK_FALSE(fs::exists(scratch / "o6" / "chat_template.jinja"));
}

TEST_CASE_METHOD(Fixture, "merge: MODEL+ADAPTER where ADAPTER is none is refused in words") {
  const auto error = error_of([&] {
    merge("merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a+b}]\n", scratch.path(),
          scratch / "out");
  });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kInput);
  CHECK_THAT(error->message(), Catch::Contains("adapter_config.json"));
}

TEST_CASE_METHOD(Fixture, "merge: model+adapter is the model with the adapter folded in") {
  const Values b = random_values(16 * 2, 1, .1), a = random_values(2 * 8, 2, .1);
  const std::string module = "model.layers.1.mlp.up_proj";
  const std::string prefix = "base_model.model." + module + ".lora_";
  save_model(scratch / "tune",
             {{prefix + "A.weight", {{2, 8}, a}}, {prefix + "B.weight", {{16, 2}, b}}});
  fs::rename(scratch / "tune" / "model.safetensors",
             scratch / "tune" / "adapter_model.safetensors");
  write_file(scratch / "tune" / "adapter_config.json",
             R"({"peft_type": "LORA", "r": 2, "lora_alpha": 6, "target_modules": ["up_proj"]})");
  merge(
      "merge_method: task_arithmetic\nbase_model: b\nparameters: {weight: 1}\nmodels: [{model: "
      "b+tune}]\n",
      scratch.path(), scratch / "out");
  const Values base = values_of(scratch / "b", module + ".weight");
  const Values found = values_of(scratch / "out", module + ".weight");
  for (std::size_t r = 0; r < 16; ++r) {
    for (std::size_t c = 0; c < 8; ++c) {
      const double change = b[2 * r] * a[c] + b[2 * r + 1] * a[8 + c];
      CHECK(found[8 * r + c] == Approx(base[8 * r + c] + 3 * change).margin(1e-7));
    }
  }
  const std::string other = "model.layers.0.mlp.up_proj.weight";
  CHECK(values_of(scratch / "out", other) == values_of(scratch / "b", other));
  // The same by its parts, and resuming knows the adapter.
  merge(
      "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: {model: b, lora: tune}}]\n",
      scratch.path(), scratch / "parts");
  CHECK(values_of(scratch / "parts", module + ".weight") == found);
  // A method of matrices sees the change itself, of rank 2: no rounding of the sum.
  MergeOptions options;
  options.linalg = &jacobi();
  merge("merge_method: iso_c\nbase_model: b\nmodels: [{model: b+tune}]\n", scratch.path(),
        scratch / "iso", {}, options);
  Matrix delta(16, 8);
  delta.values = values_of(scratch / "iso", module + ".weight");
  for (std::size_t i = 0; i < base.size(); ++i) delta.values[i] -= base[i];
  const std::vector<double> values = jacobi().svd(delta).values;
  CHECK(values[1] == Approx(values[0]).epsilon(1e-4));
  CHECK(values[2] < 1e-4 * values[0]);
}

TEST_CASE_METHOD(Fixture,
                 "merge: modules are merged each by itself, and what no module names is copied") {
  NamedTensors tensors = tiny(1);
  tensors["vision_tower.layers.0.weight"] = {{2, 2}, {1, 2, 3, 4}};
  save_model(scratch / "a", tensors, DType::kF32, kConfig);
  tensors = tiny(100);
  tensors["vision_tower.layers.0.weight"] = {{2, 2}, {5, 6, 7, 8}};
  save_model(scratch / "b", tensors, DType::kF32, kConfig);
  const Json result = merge(
      "merge_method: linear\nparameters: {weight: 1}\nmodules:\n  text_decoder:\n    models: "
      "[{model: a}, {model: b}]\n",
      scratch.path(), scratch / "out");
  CHECK(values_of(scratch / "out", "vision_tower.layers.0.weight") == Values{1, 2, 3, 4});
  REQUIRE(result["warnings"].size() == 1);
  CHECK_THAT(result["warnings"][0].get<std::string>(), Catch::Contains("1 tensors"));
  const auto error = error_of([&] {
    merge(
        "merge_method: linear\nparameters: {weight: 1}\nmodules:\n  txt:\n    models: [{model: "
        "a}]\n",
        scratch.path(), scratch / "no");
  });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kUsage);
}

TEST_CASE_METHOD(Fixture,
                 "merge: slices of a module stack its layers, whatever other parts have more of") {
  NamedTensors tensors = tiny(1);
  for (const std::string layer : {"0", "1", "2"})
    tensors["vision_tower.layers." + layer + ".weight"] = {{2, 2}, {1, 2, 3, 4}};
  Json config = kConfig;
  config["text_config"] = {{"num_hidden_layers", 2}, {"layer_types", {"full", "sliding"}}};
  config["vision_config"] = {{"num_hidden_layers", 3}};
  save_model(scratch / "v", tensors, DType::kF32, config);
  const auto stack = [&](const std::string& module, const std::string& end) {
    merge("merge_method: passthrough\nmodules:\n  " + module +
              ":\n    slices:\n      - sources: [{model: v, layer_range: [0, " + end +
              "]}]\n      - sources: [{model: v, layer_range: [1, 2]}]\n",
          scratch.path(), scratch / module);
    return read_json(scratch / module / "config.json");
  };
  const Json text = stack("text_decoder", "2");
  CHECK(text["num_hidden_layers"] == 3);
  CHECK(text["text_config"]["num_hidden_layers"] == 3);
  CHECK(text["text_config"]["layer_types"] == Json{"full", "sliding", "sliding"});
  CHECK(text["vision_config"]["num_hidden_layers"] == 3);
  const Json vision = stack("vision_tower", "3");
  CHECK(vision["text_config"]["num_hidden_layers"] == 2);
  CHECK(vision["num_hidden_layers"] == 2);
  CHECK(vision["vision_config"]["num_hidden_layers"] == 4);
}

TEST_CASE("estimate: a trial leaves nothing behind and does without a disk") {
  const Scratch scratch;
  CHECK(writing_seconds(scratch / "out", 1 << 20) > 0);
  CHECK(writing_seconds(scratch / "no" / "folder" / "out", 1 << 20) > 0);
  CHECK(fs::is_empty(scratch.path()));
  CHECK(writing_seconds("/proc/out", 1 << 20) == 0);

  const Scratch models;
  for (const char* name : {"a", "b"}) save_model(models / name, tiny(1), DType::kF32, kConfig);
  const RecipeFile recipe = parse_recipe(
      "merge_method: slerp\nparameters: {t: 0.4}\nbase_model: a\nmodels: [{model: a}, {model: "
      "b}]\n",
      "r.yml", models.path());
  const auto plan = plan_merge(recipe, {});
  CHECK(expected_seconds(*plan, scratch / "no" / "out", {}) > 0);
  CHECK(expected_seconds(*plan, "/proc/out", {}) > 0);
  CHECK(fs::is_empty(scratch.path()));
}

TEST_CASE("merge: GPT-2's weights lie [d_in, d_out], and its positions are an embedding") {
  const Scratch scratch;
  const NamedTensors tensors{
      {"transformer.wte.weight", {{12, 8}, random_values(96, 1)}},
      {"transformer.wpe.weight", {{5, 8}, random_values(40, 2)}},
      {"transformer.h.0.attn.c_attn.weight", {{8, 24}, random_values(192, 3)}},
      {"transformer.h.0.attn.c_proj.weight", {{8, 8}, random_values(64, 4)}},
      {"transformer.h.0.ln_1.weight", {{8}, random_values(8, 5)}}};
  for (const char* name : {"a", "b"})
    save_model(scratch / name, tensors, DType::kF32, {{"model_type", "gpt2"}, {"vocab_size", 12}});
  const RecipeFile recipe = parse_recipe(
      "merge_method: iso_c\nbase_model: a\nmodels: [{model: b}]\n", "r.yml", scratch.path());
  std::string found;
  const auto plan = plan_merge(recipe, {});
  for (const PlannedTensor& tensor : plan->tensors)
    found += tensor.embedding ? 'e' : tensor.transposed ? 't' : '-';
  CHECK(found == "tt-ee");
}
