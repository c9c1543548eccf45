// Logits and greedy texts of random Llama checkpoints, as transformers computed them.

#include <unistd.h>

#include "formats/model_source.h"
#include "model/generate.h"
#include "tests/catch.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

TEST_CASE("model: the stored tiny models cover every kind of RoPE") {
  CHECK(tiny_names().size() == 14);
}

TEST_CASE("model: logits of every tiny model equal transformers'") {
  for (const std::string& name : tiny_names()) {
    INFO(name);
    const Decoder model = load_tiny(name);
    const at::Tensor logits = model.forward(golden(name, "ids"));
    const double difference = max_abs(logits, golden(name, "logits"));
    INFO("max abs " << difference);
    CHECK(difference < tolerance::kTinyLogits);
  }
}

TEST_CASE("model: greedy texts of every tiny model equal transformers', with a cache and without") {
  for (const std::string& name : tiny_names()) {
    INFO(name);
    const Decoder model = load_tiny(name);
    const std::int64_t prompt = golden(name, "prompt_tokens").item<std::int64_t>();
    const at::Tensor ids = golden(name, "ids").slice(1, 0, prompt).contiguous();
    const auto expected = as_lists(golden(name, "greedy"));
    const at::Tensor gap = golden(name, "gap");
    const auto cached = generate_greedy(model, as_lists(ids), 16);
    CHECK(cached == greedy_without_cache(model, ids, 16));
    for (std::size_t row = 0; row < expected.size(); ++row) {
      for (std::size_t i = 0; i < 16; ++i) {
        const auto at = static_cast<std::int64_t>(i);
        if (gap[static_cast<std::int64_t>(row)][at].item<double>() < tolerance::kGreedyGap) break;
        CHECK(cached[row][i] == expected[row][i]);
      }
    }
  }
}

TEST_CASE("model: bf16 weights that are exact give float32's logits") {
  // "plain" is stored in bf16: both loads hold the same values, and activations stay in float32.
  const at::Tensor ids = golden("plain", "ids");
  const Decoder narrow = load_tiny("plain", at::kBFloat16);
  CHECK(narrow.weight("lm_head.weight").scalar_type() == at::kBFloat16);
  CHECK(same_bits(narrow.forward(ids), load_tiny("plain").forward(ids)));
}

TEST_CASE("model: missing and misshapen tensors are refused with name and both shapes") {
  const fs::path plain = fs::path(LANCET_TEST_DATA) / "tiny_models" / "plain";
  const fs::path copy = fs::temp_directory_path() / ("lancet-model-" + std::to_string(::getpid()));
  const auto refusal = [&](const char* key, int value) {
    fs::create_directory(copy);
    fs::copy_file(plain / "model.safetensors", copy / "model.safetensors",
                  fs::copy_options::overwrite_existing);
    Json config = read_json(plain / "config.json");
    config[key] = value;
    write_file(copy / "config.json", dump_json(config));
    const std::string message =
        error_of([&] { static_cast<void>(Decoder::load(ModelSource::open(copy))); });
    fs::remove_all(copy);
    return message;
  };
  CHECK_THAT(refusal("num_hidden_layers", 3),
             Catch::Contains("'model.layers.2.input_layernorm.weight' [32], found none"));
  CHECK_THAT(refusal("intermediate_size", 41),
             Catch::Contains("'model.layers.0.mlp.gate_proj.weight' [41, 32], found [40, 32]"));
}
