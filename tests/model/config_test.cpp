// config.json -> DecoderSpec: what is read, and what is refused with key and value.

#include <cmath>

#include "core/error.h"
#include "model/architecture.h"
#include "tests/catch.h"
#include "tests/model/tiny.h"

using namespace lancet;
using lancet::test::error_of;

namespace {

Json base() {
  return {{"model_type", "llama"},    {"vocab_size", 100},
          {"hidden_size", 64},        {"intermediate_size", 128},
          {"num_hidden_layers", 2},   {"num_attention_heads", 4},
          {"num_key_value_heads", 2}, {"max_position_embeddings", 4096}};
}

Json with(const Json& changes) {
  Json config = base();
  config.update(changes);
  return config;
}

std::string refusal(const Json& changes) {
  try {
    static_cast<void>(describe_decoder(with(changes)));
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kMismatch);
    return error.message();
  }
  return "";
}

}  // namespace

TEST_CASE("config: defaults are transformers' and null counts as absent") {
  const DecoderSpec spec =
      describe_decoder(with({{"head_dim", nullptr}, {"rope_scaling", nullptr}}));
  CHECK(spec.attention.d_head == 16);
  CHECK(spec.attention.kv_heads == 2);
  CHECK(spec.norm.eps == 1e-6);
  CHECK(spec.ropes[0].theta == 10000);
  CHECK(spec.ropes[0].kind == RopeKind::kDefault);
  CHECK_FALSE(spec.tied_head);
  CHECK_FALSE(spec.attention.qkv_bias);
  CHECK(spec.names.mlp.down == "model.layers.{}.mlp.down_proj");
}

TEST_CASE("config: rope options of both spellings give the same spec") {
  const Json options{{"factor", 8.0},
                     {"low_freq_factor", 1.0},
                     {"high_freq_factor", 4.0},
                     {"original_max_position_embeddings", 2048}};
  Json now = options;
  now["rope_type"] = "llama3";
  now["rope_theta"] = 5e5;
  Json before = options;
  before["type"] = "llama3";
  const RopeSpec a = describe_decoder(with({{"rope_parameters", now}})).ropes[0];
  const RopeSpec b =
      describe_decoder(with({{"rope_theta", 5e5}, {"rope_scaling", before}})).ropes[0];
  for (const RopeSpec& rope : {a, b}) {
    CHECK(rope.kind == RopeKind::kLlama3);
    CHECK(rope.theta == 5e5);
    CHECK(rope.factor == 8);
    CHECK(rope.original_positions == 2048);
  }
}

TEST_CASE("config: yarn scales attention by 0.1 ln(factor) + 1") {
  const Json yarn{
      {"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 1024}};
  CHECK(describe_decoder(with({{"rope_parameters", yarn}})).ropes[0].attention_factor ==
        Approx(0.1 * std::log(4.0) + 1));
}

TEST_CASE("config: what cannot be honoured is refused with key and value") {
  CHECK_THAT(refusal({{"hidden_act", "mish"}}),
             Catch::Contains("hidden_act") && Catch::Contains("mish"));
  CHECK_THAT(refusal({{"rope_scaling", {{"type", "mrope"}}}}),
             Catch::Contains("rope_type") && Catch::Contains("mrope"));
  CHECK_THAT(refusal({{"partial_rotary_factor", 0.5}}),
             Catch::Contains("partial_rotary_factor") && Catch::Contains("0.5"));
  CHECK_THAT(refusal({{"num_key_value_heads", 3}}),
             Catch::Contains("num_key_value_heads") && Catch::Contains("3"));
  CHECK_THAT(refusal({{"head_dim", 15}}), Catch::Contains("head_dim") && Catch::Contains("15"));
  CHECK_THAT(refusal({{"quantization_config", {{"quant_method", "gptq"}}}}),
             Catch::Contains("gptq"));
  CHECK_THAT(refusal({{"num_hidden_layers", 1'000'000'000'000}}),
             Catch::Contains("num_hidden_layers"));
  CHECK_THAT(refusal({{"hidden_size", -64}}),
             Catch::Contains("hidden_size") && Catch::Contains("-64"));
  CHECK_THAT(refusal({{"rope_parameters", {{"rope_type", "linear"}}}}), Catch::Contains("factor"));
  CHECK_THAT(refusal({{"rope_parameters", {{"full_attention", {{"rope_type", "default"}}}}}}),
             Catch::Contains("full_attention"));
  const Json longrope{{"rope_type", "longrope"}, {"short_factor", {1.0}}, {"long_factor", {1.0}}};
  CHECK_THAT(refusal({{"rope_parameters", longrope}}),
             Catch::Contains("short_factor") && Catch::Contains("8 numbers"));
}

TEST_CASE("config: a default that a model has no room for is refused like a value") {
  const Json gptj{{"model_type", "gptj"}, {"n_layer", 1}, {"n_embd", 32}, {"n_head", 4}};
  const auto told = [](Json config, const std::string& key, const Json& value) {
    config[key] = value;
    return error_of([&] { static_cast<void>(describe_decoder(config)); });
  };
  CHECK_THAT(told(gptj, "rotary_dim", nullptr),
             Catch::Contains("from 1 to 8 for 'rotary_dim', found none, which means 64"));
  CHECK(told(gptj, "rotary_dim", 8).empty());
  CHECK_THAT(refusal({{"model_type", "jamba"}, {"num_experts", 1}, {"attn_layer_period", 3}}),
             Catch::Contains("from 0 to 2 for 'attn_layer_offset'") && Catch::Contains("means 4"));
  CHECK_THAT(
      refusal({{"model_type", "mamba2"}, {"num_heads", 4}, {"head_dim", 32}, {"state_size", 16}}),
      Catch::Contains("from 1 to 4 for 'n_groups'") && Catch::Contains("means 8"));
}

TEST_CASE("config: Gemma's hidden_act may name a form of GELU, and no other") {
  for (const char* act : {"gelu", "gelu_pytorch_tanh", "gelu_new"}) {
    const DecoderSpec spec = describe_decoder(with({{"model_type", "gemma"}, {"hidden_act", act}}));
    CHECK(spec.mlp.activation == Activation::kGeluTanh);
  }
  CHECK_THAT(refusal({{"model_type", "gemma"}, {"hidden_act", "silu"}}),
             Catch::Contains("gelu or gelu_pytorch_tanh for 'hidden_act'"));
}

TEST_CASE("config: windows are transformers' where the config leaves some of it out") {
  const auto windows = [](Json changes) {
    std::vector<std::int64_t> out;
    changes["num_hidden_layers"] = 30;
    for (const LayerSpec& layer : describe_decoder(with(changes)).layer)
      out.push_back(layer.window);
    return out;
  };
  const std::vector<std::int64_t> none(30, 0), all(30, 512);
  for (const char* type : {"qwen2", "qwen3"}) {
    const Json used{{"model_type", type}, {"use_sliding_window", true}, {"sliding_window", 512}};
    const auto changed = [&](const std::string& key, const Json& value) {
      Json config = used;
      config[key] = value;
      return windows(config);
    };
    std::vector<std::int64_t> last = none;
    last[28] = last[29] = 512;
    CHECK(windows(used) == last);
    CHECK(changed("max_window_layers", 0) == all);
    CHECK(changed("max_window_layers", 30) == none);
    CHECK(changed("sliding_window", nullptr) == none);
  }
  const Json types(30, "sliding_attention");
  for (const char* type : {"qwen2", "qwen3", "qwen2_moe", "smollm3"}) {
    const Json told{{"model_type", type},         {"num_hidden_layers", 30},
                    {"layer_types", types},       {"sliding_window", 512},
                    {"num_experts", 4},           {"num_experts_per_tok", 2},
                    {"moe_intermediate_size", 16}};
    CHECK_THAT(refusal(told), Catch::Contains("full_attention where use_sliding_window is false"));
    Json used = told;
    used["use_sliding_window"] = true;
    CHECK(windows(used) == all);
    used["sliding_window"] = nullptr;
    CHECK_THAT(refusal(used), Catch::Contains("where there is no sliding_window"));
  }
  CHECK(windows({{"model_type", "mistral"}})[29] == 4096);
  CHECK(windows({{"model_type", "mistral"}, {"sliding_window", nullptr}}) == none);
}

TEST_CASE("config: an unknown model_type is refused with the nearest known one") {
  try {
    static_cast<void>(describe_decoder(with({{"model_type", "lama"}})));
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kMismatch);
    CHECK_THAT(error.message(), Catch::Contains("'lama'"));
    CHECK_THAT(error.hint(), Catch::Contains("llama"));
  }
}
