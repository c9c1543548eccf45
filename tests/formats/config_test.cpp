// config.json and tokenizer files against GGUF metadata, both ways.

#include <cmath>
#include <cstdlib>
#include <numbers>

#include "core/error.h"
#include "formats/config/from_gguf.h"
#include "formats/config/hf_config.h"
#include "formats/config/rope_scaling.h"
#include "formats/config/to_gguf.h"
#include "tests/catch.h"
#include "tests/formats/scratch.h"
#include "tests/formats/tiny_llama.h"

namespace lancet {
namespace {

const NameFamily& llama() { return *family_of_gguf("llama"); }

GgufHeader header_of(GgufMetadata metadata) {
  GgufHeader header;
  header.metadata = std::move(metadata);
  return header;
}

GgufMetadata tokenizer_metadata(const Json& tokenizer, const std::string& tokenizer_config = "{}") {
  GgufMetadata out;
  append_tokenizer(
      {{"tokenizer.json", dump_json(tokenizer)}, {"tokenizer_config.json", tokenizer_config}},
      tiny::config(), tiny::kVocab, out);
  return out;
}

/// A GGUF of the tiny model's embedding alone, with `change` made to the metadata.
template <typename Change>
std::shared_ptr<const Checkpoint> small_gguf(const Scratch& scratch, Change change) {
  GgufMetadata metadata = metadata_from_config(tiny::config(), llama(), 0);
  change(metadata);
  save_gguf(scratch / "m.gguf", metadata,
            {tiny::output("token_embd.weight", {tiny::kVocab, tiny::kModel},
                          tiny::values(0, {tiny::kVocab, tiny::kModel}))});
  return Checkpoint::open(scratch / "m.gguf");
}

void set(GgufMetadata& metadata, const std::string& key, GgufValue value) {
  std::erase_if(metadata, [&](const auto& entry) { return entry.first == key; });
  metadata.emplace_back(key, std::move(value));
}

ErrorKind kind_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.kind();
  }
  return ErrorKind::kInternal;
}

}  // namespace

TEST_CASE("config: a configuration that goes to GGUF and back keeps every size", "[config]") {
  const Scratch scratch;
  const auto checkpoint = small_gguf(scratch, [](GgufMetadata&) {});
  const Json back = config_from_gguf(*checkpoint, llama());
  const Json config = tiny::config();
  for (const char* key :
       {"architectures", "model_type", "vocab_size", "hidden_size", "intermediate_size",
        "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act",
        "max_position_embeddings", "rms_norm_eps", "rope_theta", "tie_word_embeddings", "dtype",
        "torch_dtype"}) {
    INFO(key);
    CHECK(back[key] == config[key]);
  }
  CHECK(back["rope_parameters"] == Json::parse(R"({"rope_type":"default","rope_theta":10000.0})"));
  CHECK_FALSE(back.contains("rope_scaling"));
}

TEST_CASE("config: metadata that contradicts itself or the tensors is an input error", "[config]") {
  const Scratch scratch;
  const auto refused = [&](const std::string& key, const GgufValue& value) {
    const auto checkpoint = small_gguf(scratch, [&](GgufMetadata& m) { set(m, key, value); });
    return kind_of([&] { static_cast<void>(config_from_gguf(*checkpoint, llama())); });
  };
  CHECK(refused("llama.block_count", gguf_u32(0)) == ErrorKind::kInput);
  CHECK(refused("llama.block_count", gguf_u32(4'000'000'000)) == ErrorKind::kInput);
  CHECK(refused("llama.block_count", gguf_string("2")) == ErrorKind::kInput);
  CHECK(refused("llama.attention.head_count", gguf_u32(0)) == ErrorKind::kInput);
  CHECK(refused("llama.attention.head_count_kv", gguf_u32(3)) == ErrorKind::kInput);
  CHECK(refused("llama.attention.key_length", gguf_u32(7)) == ErrorKind::kInput);
  CHECK(refused("llama.embedding_length", gguf_u32(0)) == ErrorKind::kInput);
  CHECK(refused("llama.attention.layer_norm_rms_epsilon", gguf_f32(-1)) == ErrorKind::kInput);
  CHECK(refused("llama.rope.freq_base", gguf_f32(std::nan(""))) == ErrorKind::kInput);
  CHECK(refused("tokenizer.ggml.bos_token_id", gguf_u32(20)) == ErrorKind::kInput);
  CHECK(refused("llama.expert_count", gguf_u32(8)) == ErrorKind::kMismatch);
  CHECK(refused("llama.rope.scaling.type", gguf_string("longrope")) == ErrorKind::kMismatch);
  CHECK(refused("llama.rope.dimension_count", gguf_u32(4)) == ErrorKind::kMismatch);
}

TEST_CASE("config: head counts given per layer are taken where all layers agree", "[config]") {
  const Scratch scratch;
  const auto heads = [&](std::vector<std::uint64_t> list) {
    return small_gguf(scratch, [&](GgufMetadata& m) {
      set(m, "llama.attention.head_count_kv", {GgufType::kArray, GgufType::kU32, std::move(list)});
    });
  };
  CHECK(config_from_gguf(*heads({2, 2}), llama())["num_key_value_heads"] == 2);
  CHECK(kind_of([&] {
          static_cast<void>(config_from_gguf(*heads({2, 4}), llama()));
        }) == ErrorKind::kMismatch);
}

TEST_CASE(
    "config: llama3 divisors are 1 for short waves, the factor for long ones, monotone between",
    "[config]") {
  RopeSettings rope;
  rope.theta = 500000;
  rope.type = "llama3";
  rope.factor = 8;
  rope.original_context = 8192;
  const std::vector<float> divisors = llama3_divisors(rope, 128);
  REQUIRE(divisors.size() == 64);
  CHECK(divisors.front() == 1.0F);
  CHECK(divisors.back() == 8.0F);
  CHECK(std::ranges::is_sorted(divisors));
  for (std::size_t i = 0; i < 64; ++i) {
    const double wave = 2 * std::numbers::pi * std::pow(500000.0, static_cast<double>(i) / 64.0);
    if (wave < 8192.0 / 4) CHECK(divisors[i] == 1.0F);
    if (wave > 8192.0) CHECK(divisors[i] == 8.0F);
  }
  const RopeSettings back =
      rope_from_gguf(header_of({{"llama.rope.freq_base", gguf_f32(500000)}}), "llama", divisors);
  CHECK(back.type == "llama3");
  CHECK(back.factor == 8.0);
  std::vector<float> wrong = divisors;
  wrong[32] *= 1.5F;
  CHECK(kind_of([&] {
          static_cast<void>(rope_from_gguf(header_of({{"llama.rope.freq_base", gguf_f32(500000)}}),
                                           "llama", wrong));
        }) == ErrorKind::kMismatch);
}

TEST_CASE("config: divisors of any llama3 scaling are read as one that turns alike", "[config]") {
  struct Case {
    double theta, factor, low, high;
    std::int64_t context, head_dim;
  };
  for (const Case& c : {Case{500000, 16, 2, 8, 4096, 64}, Case{500000, 32, 1, 4, 8192, 64},
                        Case{500000, 8, 1, 4, 2048, 128}, Case{10000, 4, 1, 3, 64, 8},
                        Case{10000, 4, 1.5, 2, 64, 16}, Case{10000, 4, 1, 2, 4, 16},
                        Case{10000, 4, 1, 2, 1 << 30, 16}, Case{1e6, 3.3, 0.7, 5.9, 5000, 2},
                        Case{10000, 2, 1, 40, 300, 12}, Case{1e4, 1.1, 1, 4, 8192, 80}}) {
    RopeSettings rope;
    rope.theta = c.theta;
    rope.type = "llama3";
    rope.factor = c.factor;
    rope.low_freq_factor = c.low;
    rope.high_freq_factor = c.high;
    rope.original_context = c.context;
    INFO(c.factor << " " << c.low << " " << c.high << " " << c.context << " " << c.head_dim);
    const std::vector<float> divisors = llama3_divisors(rope, c.head_dim);
    const auto back = llama3_of_divisors(c.theta, divisors);
    REQUIRE(back);
    CHECK(back->low_freq_factor > 0);
    CHECK(back->low_freq_factor < back->high_freq_factor);
    const std::vector<float> again = llama3_divisors(*back, c.head_dim);
    for (std::size_t i = 0; i < divisors.size(); ++i) CHECK(again[i] == Approx(divisors[i]));
  }
}

TEST_CASE("config: Python's Infinity is read as transformers 5 spells it, in no string",
          "[config]") {
  const Json infinity{{"__float__", "Infinity"}};
  const Json config =
      parse_hf_config(R"({"limit": [0.0, Infinity], "name \"": "Infinity, \"Infinity"})", "x");
  CHECK(config["limit"] == Json::array({0.0, infinity}));
  CHECK(config["name \""] == "Infinity, \"Infinity");
  for (const char* bad : {"[-Infinity]", "[Infinity1]", "[xInfinity]", "Infinit", "[NaN]"})
    CHECK_THROWS_AS(parse_hf_config(bad, "x"), Error);
}

TEST_CASE("config: rope settings are read from either spelling of transformers", "[config]") {
  const auto read = [](const char* text) { return rope_from_config(Json::parse(text)); };
  CHECK(read(R"({"rope_theta":5e5})").theta == 5e5);
  CHECK(read(R"({"rope_parameters":{"rope_type":"default","rope_theta":1e6}})").theta == 1e6);
  CHECK(read(R"({"rope_theta":1e6,"rope_scaling":{"type":"linear","factor":4.0}})").factor == 4.0);
  CHECK(read(R"({"rope_scaling":null})").type == "default");
  CHECK(kind_of([&] {
          static_cast<void>(read(R"({"rope_scaling":{"rope_type":"dynamic","factor":2.0}})"));
        }) == ErrorKind::kMismatch);
  CHECK(kind_of([&] {
          static_cast<void>(
              read(R"({"rope_parameters":{"rope_type":"yarn","factor":2.0,"beta_fast":64}})"));
        }) == ErrorKind::kMismatch);
}

TEST_CASE("config: linear and yarn scaling survive the way to GGUF and back", "[config]") {
  for (const char* text :
       {R"({"rope_type":"linear","factor":4.0})",
        R"({"rope_type":"yarn","factor":2.0,"original_max_position_embeddings":64})"}) {
    Json config = tiny::config();
    config["rope_scaling"] = Json::parse(text);
    const RopeSettings back =
        rope_from_gguf(header_of(metadata_from_config(config, llama(), 0)), "llama", {});
    const RopeSettings there = rope_from_config(config);
    CHECK(back.type == there.type);
    CHECK(back.factor == there.factor);
    CHECK(back.original_context == there.original_context);
  }
}

TEST_CASE("config: longrope is read with its first length and attention factor in every spelling",
          "[config]") {
  const RopeSettings rope = rope_from_config(Json::parse(
      R"({"max_position_embeddings":64,"original_max_position_embeddings":16,
          "rope_scaling":{"type":"longrope","short_factor":[1.0,1.1],"long_factor":[2.0,3.0]}})"));
  CHECK(rope.type == "longrope");
  CHECK(rope.original_context == 16);
  CHECK(rope.long_factors == std::vector<float>{2.0F, 3.0F});
  CHECK(rope.attention_factor == std::sqrt(1.5));  // sqrt(1 + ln 4 / ln 16)
  Json config{{"max_position_embeddings", 64}};
  put_rope(rope, config);
  CHECK(config["rope_scaling"].size() == 3);  // all that transformers before version 5 allows
  CHECK(config["rope_scaling"]["short_factor"] == Json::array({1.0, 1.1}));
  config["original_max_position_embeddings"] = 16;
  const RopeSettings back = rope_from_config(config);
  CHECK(back.short_factors == rope.short_factors);
  CHECK(back.attention_factor == rope.attention_factor);
  config["rope_parameters"]["attention_factor"] = 1.25;
  CHECK(rope_from_config(config).attention_factor == 1.25);
  CHECK(kind_of([] {
          static_cast<void>(rope_from_config(Json::parse(
              R"({"rope_scaling":{"type":"longrope","short_factor":[1.0],"long_factor":[1.0]}})")));
        }) == ErrorKind::kInput);
}

TEST_CASE("tokenizer to gguf: tokens, types, merges and roles are llama.cpp's", "[config]") {
  const GgufHeader header = header_of(tokenizer_metadata(
      tiny::tokenizer(),
      R"({"bos_token":"<s>","eos_token":{"content":"</s>"},"unk_token":"<unk>"})"));
  CHECK(header.string("tokenizer.ggml.model") == "gpt2");
  CHECK(header.string("tokenizer.ggml.pre") == "smollm");
  const auto& tokens = *header.strings("tokenizer.ggml.tokens");
  REQUIRE(tokens.size() == tiny::kVocab);
  CHECK(tokens[1] == "<s>");
  CHECK(tokens[16] == "Ġthe");
  CHECK(tokens[17] == "<tool>");
  CHECK(tokens[18] == "[PAD18]");
  const auto& types =
      std::get<std::vector<std::int64_t>>(header.find("tokenizer.ggml.token_type")->value);
  CHECK(types[1] == 3);
  CHECK(types[3] == 1);
  CHECK(types[17] == 4);
  CHECK(types[19] == 5);
  CHECK(header.strings("tokenizer.ggml.merges")->at(4) == "Ġ the");
  CHECK(header.integer("tokenizer.ggml.bos_token_id") == 1);
  CHECK(header.integer("tokenizer.ggml.eos_token_id") == 2);
  CHECK(header.integer("tokenizer.ggml.unknown_token_id") == 0);
  CHECK_FALSE(header.boolean("tokenizer.ggml.add_bos_token", true));
}

TEST_CASE("tokenizer to gguf: merges in pairs read as merges in one string", "[config]") {
  Json tokenizer = tiny::tokenizer();
  tokenizer["model"]["merges"] =
      Json::parse(R"([["t","h"],["th","e"],["Ġ","t"],["a","b"],["Ġ","the"]])");
  const GgufHeader pairs = header_of(tokenizer_metadata(tokenizer));
  const GgufHeader strings = header_of(tokenizer_metadata(tiny::tokenizer()));
  CHECK(*pairs.strings("tokenizer.ggml.merges") == *strings.strings("tokenizer.ggml.merges"));
}

TEST_CASE("tokenizer to gguf: a template that puts <s> in front sets add_bos_token", "[config]") {
  Json tokenizer = tiny::tokenizer();
  tokenizer["post_processor"] = Json::parse(
      R"({"type":"Sequence","processors":[{"type":"ByteLevel"},{"type":"TemplateProcessing",
          "single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}]}]})");
  const GgufHeader header = header_of(tokenizer_metadata(tokenizer));
  CHECK(header.boolean("tokenizer.ggml.add_bos_token", false));
  CHECK_FALSE(header.boolean("tokenizer.ggml.add_eos_token", true));
}

TEST_CASE("tokenizer to gguf: what llama.cpp has no word for is a mismatch", "[config]") {
  Json spaces = tiny::tokenizer();
  spaces["pre_tokenizer"] = Json::parse(R"({"type":"WhitespaceSplit"})");
  Json prefix = tiny::tokenizer();
  prefix["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = true;
  Json fallback = tiny::tokenizer();
  fallback["model"]["byte_fallback"] = true;
  Json unigram = tiny::tokenizer();
  unigram["model"]["type"] = "Unigram";
  Json lower = tiny::tokenizer();
  lower["normalizer"] = Json::parse(R"({"type":"Lowercase"})");
  for (const Json& tokenizer : {spaces, prefix, fallback, unigram, lower}) {
    CHECK(kind_of([&] { static_cast<void>(tokenizer_metadata(tokenizer)); }) ==
          ErrorKind::kMismatch);
  }
}

TEST_CASE("tokenizer to gguf: ids outside the embedding and ids given twice are input errors",
          "[config]") {
  for (const char* change :
       {R"({"z":20})", R"({"z":-1})", R"({"z":3})", R"({"z":1.5})", R"({"z":"3"})"}) {
    INFO(change);
    Json tokenizer = tiny::tokenizer();
    tokenizer["model"]["vocab"].update(Json::parse(change));
    CHECK(kind_of([&] { static_cast<void>(tokenizer_metadata(tokenizer)); }) == ErrorKind::kInput);
  }
}

TEST_CASE("tokenizer to gguf: named chat templates keep their names", "[config]") {
  const GgufHeader header = header_of(tokenizer_metadata(
      tiny::tokenizer(),
      R"({"chat_template":[{"name":"default","template":"D"},{"name":"tool_use","template":"T"}]})"));
  CHECK(header.string("tokenizer.chat_template") == "D");
  CHECK(header.string("tokenizer.chat_template.tool_use") == "T");
}

TEST_CASE("tokenizer to gguf: what ends a text is the same when it is read back", "[config]") {
  const auto ends = [](const std::string& generation) {
    GgufMetadata out;
    append_tokenizer({{"tokenizer.json", dump_json(tiny::tokenizer())},
                      {"tokenizer_config.json", R"({"eos_token":"</s>"})"},
                      {"generation_config.json", generation}},
                     tiny::config(), tiny::kVocab, out);
    const auto files = side_files_from_gguf(header_of(out), tiny::config());
    return parse_json(files.at("generation_config.json"), "generation_config.json")["eos_token_id"];
  };
  CHECK(ends(R"({"eos_token_id":2})") == 2);
  CHECK(ends("{}") == 2);
  CHECK(ends(R"({"eos_token_id":[2,17]})") == Json::parse("[2,17]"));
  CHECK(ends(R"({"eos_token_id":[17,2,1]})") == Json::parse("[2,17,1]"));
  CHECK(ends(R"({"eos_token_id":17})") == Json::parse("[2,17]"));
  CHECK(ends(R"({"eos_token_id":[2,17,1,3,4]})") == Json::parse("[2,17,1]"));  // with a warning
  CHECK(ends(R"({"eos_token_id":[2,-1,99,"x",null]})") == 2);
}

TEST_CASE("tokenizer to gguf: tokens that files beside tokenizer.json declare are there",
          "[config]") {
  const GgufHeader header = header_of(tokenizer_metadata(
      tiny::tokenizer(),
      R"({"eos_token":"<end>","additional_special_tokens":["<x>","<beyond>"]})"));
  const auto& tokens = *header.strings("tokenizer.ggml.tokens");
  REQUIRE(tokens.size() == tiny::kVocab);
  CHECK(tokens[18] == "<end>");
  CHECK(tokens[19] == "<x>");
  CHECK(header.integer("tokenizer.ggml.eos_token_id") == 18);
}

TEST_CASE("tokenizer to gguf: vocab.json alone is a mismatch, not a model without a vocabulary",
          "[config]") {
  GgufMetadata metadata;
  CHECK(kind_of([&] {
          append_tokenizer({{"vocab.json", "{}"}, {"merges.txt", ""}}, tiny::config(), tiny::kVocab,
                           metadata);
        }) == ErrorKind::kMismatch);
}

TEST_CASE("tokenizer to gguf: a model without tokenizer.json says so", "[config]") {
  GgufMetadata metadata;
  append_tokenizer({}, tiny::config(), tiny::kVocab, metadata);
  CHECK(header_of(metadata).string("tokenizer.ggml.model") == "none");
}

}  // namespace lancet
