// Checkpoints whose config and weights disagree, or whose weights are not numbers: refused with
// both numbers, never run.

#include <cmath>
#include <limits>

#include "core/error.h"
#include "formats/model_source.h"
#include "tests/catch.h"
#include "tests/model/model_copy.h"
#include "tests/model/tiny.h"

using namespace lancet;
using namespace lancet::test;

namespace {

struct Refusal {
  ErrorKind kind = ErrorKind::kInternal;
  std::string message;
};

Refusal refusal(const std::string& name, const std::function<void(StoredTensors&, Json&)>& edit) {
  const ScratchFolder folder("bad-model");
  write_changed(fs::path(LANCET_TEST_DATA) / "families" / name, folder.path() / "model", edit);
  try {
    static_cast<void>(Decoder::load(ModelSource::open(folder.path() / "model")));
  } catch (const Error& error) {
    return {error.kind(), error.message()};
  }
  return {ErrorKind::kInternal, "accepted"};
}

void put_float(StoredTensor& tensor, std::size_t at, float value) {
  REQUIRE(tensor.dtype == DType::kBF16);
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  const auto half = static_cast<std::uint16_t>(bits >> 16U);
  std::memcpy(tensor.bytes.data() + 2 * at, &half, sizeof half);
}

}  // namespace

TEST_CASE("bad models: a vocabulary larger than the embedding is refused with both sizes") {
  const auto found =
      refusal("gpt2", [](StoredTensors&, Json& config) { config["vocab_size"] = 65; });
  CHECK(found.kind == ErrorKind::kMismatch);
  CHECK_THAT(found.message, Catch::Contains("transformer.wte.weight") &&
                                Catch::Contains("[65, 32]") && Catch::Contains("[64, 32]"));
}

TEST_CASE("bad models: heads that do not divide the width are refused with both numbers") {
  const auto found = refusal("gptj", [](StoredTensors&, Json& config) { config["n_head"] = 5; });
  CHECK(found.kind == ErrorKind::kMismatch);
  CHECK_THAT(found.message,
             Catch::Contains("n_head") && Catch::Contains("32") && Catch::Contains("found 5"));
}

TEST_CASE("bad models: a missing tensor is refused by name") {
  const auto found = refusal("deepseek_v3", [](StoredTensors& tensors, Json&) {
    tensors.erase("model.layers.1.mlp.experts.5.up_proj.weight");
  });
  CHECK(found.kind == ErrorKind::kMismatch);
  CHECK_THAT(found.message, Catch::Contains("model.layers.1.mlp.experts.5.up_proj.weight"));
}

TEST_CASE("bad models: tensors that the config has no place for are refused with their number") {
  const auto fewer = refusal("mistral-window",
                             [](StoredTensors&, Json& config) { config["num_hidden_layers"] = 2; });
  CHECK(fewer.kind == ErrorKind::kMismatch);
  CHECK_THAT(fewer.message, Catch::Contains("2 layers") && Catch::Contains("9 more") &&
                                Catch::Contains("model.layers.2."));
  const auto bias = refusal("mistral-window", [](StoredTensors& tensors, Json&) {
    tensors["model.layers.0.self_attn.q_proj.bias"] = zeros({32});
  });
  CHECK_THAT(bias.message, Catch::Contains("1 more") && Catch::Contains("q_proj.bias"));
}

TEST_CASE("bad models: weights that are NaN or infinite are refused with tensor and place") {
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    const auto found = refusal("falcon-40b", [value](StoredTensors& tensors, Json&) {
      put_float(tensors.at("transformer.h.1.mlp.dense_4h_to_h.weight"), 1234, value);
    });
    CHECK(found.kind == ErrorKind::kInput);
    CHECK_THAT(found.message,
               Catch::Contains(std::isnan(value) ? "NaN" : "infinity") &&
                   Catch::Contains("element 1234 of 'transformer.h.1.mlp.dense_4h_to_h.weight'"));
  }
}

TEST_CASE("bad models: options that a family cannot honour are refused with key and value") {
  const auto refused = [](const char* name, const char* key, const Json& value,
                          const std::string& told) {
    const auto found = refusal(name, [&](StoredTensors&, Json& config) { config[key] = value; });
    INFO(name << " " << key << ": " << found.message);
    CHECK(found.kind == ErrorKind::kMismatch);
    CHECK_THAT(found.message, Catch::Contains(key) && Catch::Contains(told));
  };
  refused("gpt2", "add_cross_attention", true, "true");
  refused("gpt_neo", "attention_types", Json::parse(R"([[["global","sparse"],1]])"), "sparse");
  refused("gemma3_text", "attn_logit_softcapping", 50.0, "50");
  refused("gemma2", "use_bidirectional_attention", true, "true");
  refused("cohere2", "layer_types", Json::parse(R"(["linear_attention","full_attention"])"),
          "linear_attention");
  refused("deepseek_v2", "topk_method", "noaux_tc", "noaux_tc");
  refused("deepseek_v3", "scoring_func", "softmax", "softmax");
  refused("deepseek_v3", "n_group", 3, "3");
  refused("mixtral", "num_experts_per_tok", 5, "5");
  refused("gpt_oss", "quantization_config", Json{{"quant_method", "mxfp4"}}, "mxfp4");
  refused("phi", "hidden_act", "mish", "mish");
  refused("gptj", "rotary_dim", 3, "3");
}

TEST_CASE(
    "families: files without the prefix of their names, with old buffers, give the same bits") {
  for (const std::string name : {"gpt2", "bloom"}) {
    INFO(name);
    const ScratchFolder folder("no-prefix");
    write_changed(fs::path(LANCET_TEST_DATA) / "families" / name, folder.path() / "model",
                  [&](StoredTensors& tensors, Json&) {
                    StoredTensors short_names;
                    for (auto& [key, value] : tensors)
                      short_names[key.substr(key.find('.') + 1)] = value;
                    if (name == "gpt2") short_names["h.0.attn.bias"] = zeros({1, 1, 64, 64});
                    tensors = short_names;
                  });
    const Decoder model = Decoder::load(ModelSource::open(folder.path() / "model"));
    const at::Tensor ids = golden(name, "ids");
    CHECK(same_bits(model.forward(ids), load_tiny(name).forward(ids)));
    CHECK_THAT(model.mlp_down(1).name, Catch::StartsWith("h.1.mlp."));
  }
}
