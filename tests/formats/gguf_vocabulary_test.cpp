// Vocabularies by way of GGUF metadata: those that we write, and BERT's as converters write them,
// give the ids of the tokenizer.json they were made of.

#include <fmt/format.h>

#include "core/error.h"
#include "formats/config/to_gguf.h"
#include "formats/tokenizer/sentencepiece.h"
#include "tests/catch.h"
#include "tokenizer_fixture.h"

using namespace lancet;
using namespace lancet::test;

namespace {

using Files = std::map<std::string, std::string>;

GgufHeader written(const Json& tokenizer, std::int64_t rows) {
  GgufHeader header;
  append_tokenizer(Files{{"tokenizer.json", dump_json(tokenizer)}}, Json::object(), rows,
                   header.metadata);
  return header;
}

/// Lines whose ids differ.
int count_differences(const Tokenizer& tokenizer, const std::vector<Json>& lines) {
  int differences = 0;
  for (const Json& line : lines) {
    if (!line.contains("t")) continue;
    if (tokenizer.encode(line.at("t").get<std::string>()).ids == ids_of(line)) continue;
    if (++differences <= 3) UNSCOPED_INFO(dump_json(line).substr(0, 300));
  }
  return differences;
}

Json scored_tokenizer() {
  const char* marker = "\xE2\x96\x81";
  Json out = {{"version", "1.0"}};
  out["added_tokens"] = Json::array();
  out["normalizer"] = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", marker}};
  out["model"] = {{"type", "BPE"}, {"byte_fallback", true}, {"unk_token", "<unk>"}};
  out["model"]["vocab"] = {{"<unk>", 0}, {"a", 1}, {"b", 2}, {"ab", 3}, {"aab", 4}, {"<0x41>", 5}};
  out["model"]["merges"] = Json::array({"a b", "a ab"});
  return out;
}

std::string refusal(const Json& tokenizer) {
  try {
    static_cast<void>(written(tokenizer, 7));
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kMismatch);
    return error.message();
  }
  return "written";
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

GgufValue array_of(GgufType element, auto list) {
  return {GgufType::kArray, element, std::move(list)};
}

/// What llama.cpp's converter makes of a BERT tokenizer.json.
GgufHeader converted_bert(const Json& tokenizer) {
  const Json& vocab = tokenizer.at("model").at("vocab");
  std::vector<std::string> tokens(vocab.size());
  std::vector<std::int64_t> types(vocab.size(), 1);
  for (const auto& [piece, id] : vocab.items()) tokens.at(id.get<std::size_t>()) = piece;
  for (const Json& added : tokenizer.at("added_tokens"))
    types.at(added.at("id").get<std::size_t>()) = added.at("special") == true ? 3 : 4;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (types[i] != 1) continue;
    tokens[i] = tokens[i].starts_with("##") ? tokens[i].substr(2) : "\xE2\x96\x81" + tokens[i];
  }
  GgufHeader header;
  header.metadata = {
      {"tokenizer.ggml.model", {GgufType::kString, GgufType::kU32, std::string("bert")}},
      {"tokenizer.ggml.tokens", array_of(GgufType::kString, tokens)},
      {"tokenizer.ggml.token_type", array_of(GgufType::kI32, types)}};
  return header;
}

}  // namespace

TEST_CASE("gguf vocabulary: Llama 2's tokenizer.json written as scores gives its ids",
          "[tokenizer]") {
  if (const std::string missing = missing_for_goldens(); !missing.empty()) LANCET_SKIP(missing);
  const Json tokenizer = read_json(unpacked("llama2") / "llama2" / "tokenizer.json");
  const GgufHeader header = written(tokenizer, 32000);
  CHECK(header.string("tokenizer.ggml.model") == "llama");
  CHECK(header.boolean("tokenizer.ggml.add_space_prefix", false));
  CHECK(header.find("tokenizer.ggml.merges") == nullptr);
  const std::vector<Json> lines = read_lines(unpacked("goldens") / "llama2.jsonl");
  REQUIRE(lines.size() > 5000);
  CHECK(count_differences(Tokenizer::from_gguf(header), lines) == 0);
}

TEST_CASE("gguf vocabulary: what scores cannot say is refused", "[tokenizer]") {
  const GgufHeader header = written(scored_tokenizer(), 6);
  CHECK(header.numbers("tokenizer.ggml.scores") == std::vector<double>{0, 0, 0, -1, -2, 0});
  CHECK(header.integers("tokenizer.ggml.token_type") ==
        std::vector<std::int64_t>{2, 1, 1, 1, 1, 6});
  CHECK_FALSE(header.boolean("tokenizer.ggml.add_space_prefix", true));

  Json missing = scored_tokenizer();
  missing["model"]["merges"] = Json::array({"a b"});
  CHECK(contains(refusal(missing), "'aab' has 0 merges, its parts allow 1"));
  Json apart = scored_tokenizer();
  apart["model"]["vocab"]["aa"] = 6;
  apart["model"]["merges"] = Json::array({"aa b", "a a", "a b", "a ab"});
  CHECK(contains(refusal(apart), "'aab' are not together"));
  Json folded = scored_tokenizer();
  folded["normalizer"] = {{"type", "NFKC"}};
  CHECK(contains(refusal(folded), "NFKC"));
  Json split = scored_tokenizer();
  split["pre_tokenizer"] = {{"type", "Whitespace"}};
  CHECK(contains(refusal(split), "Whitespace"));
}

TEST_CASE("gguf vocabulary: a BERT vocabulary as converters write it gives the ids of BERT",
          "[tokenizer]") {
  if (const std::string missing = missing_for_goldens(); !missing.empty()) LANCET_SKIP(missing);
  for (const std::string name : {"bert_uncased", "bert_cased"}) {
    INFO(name);
    const fs::path base = unpacked("goldens") / "synthetic" / name;
    const Json tokenizer = read_json(base.string() + ".json");
    const Tokenizer converted = Tokenizer::from_gguf(converted_bert(tokenizer));
    CHECK(converted.kind() == "WordPiece");
    Json published = tokenizer;  // GGUF has no place for this limit: BERT's own holds
    published["model"]["max_input_chars_per_word"] = 100;
    const Tokenizer original = Tokenizer::from_json(published, name);
    int differences = 0;
    for (const Json& line : read_lines(base.string() + ".jsonl")) {
      if (!line.contains("t")) continue;
      const auto text = line.at("t").get<std::string>();
      differences += converted.encode(text).ids == original.encode(text).ids ? 0 : 1;
    }
    CHECK(differences == 0);
  }
}

TEST_CASE("gguf: a tokenizer.model alone becomes the vocabulary, and Unigram is refused",
          "[tokenizer]") {
  const fs::path models = unpacked("goldens") / "sentencepiece";
  int written_models = 0;
  for (const auto& entry : fs::directory_iterator(models)) {
    if (entry.path().extension() != ".model") continue;
    INFO(entry.path().filename().string());
    const std::string bytes = read_file(entry.path());
    const SentencePieceModel model = parse_sentencepiece(bytes, Where{"m", "", 0});
    const auto rows = static_cast<std::int64_t>(model.pieces.size());
    GgufHeader header;
    const Files files{{"tokenizer.model", bytes}};
    try {
      append_tokenizer(files, Json::object(), rows, header.metadata);
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kMismatch);
      continue;
    }
    CHECK_FALSE(model.unigram);
    CHECK(header.string("tokenizer.ggml.model") == "llama");
    const Tokenizer direct(make_sentencepiece(model, Where{"m", "", 0}));
    const Tokenizer back = Tokenizer::from_gguf(header);
    for (const char* text : {"hello world", " Hello  , world \xE6\x97\xA5", "a\nb", ""})
      CHECK(back.encode(text, false).ids == direct.encode(text, false).ids);
    ++written_models;
  }
  CHECK(written_models > 0);
}

TEST_CASE("gguf vocabulary: a BERT vocabulary that lies is refused with the key named",
          "[tokenizer]") {
  const auto refused = [](const Json& tokenizer, const std::function<void(GgufHeader&)>& change) {
    GgufHeader header = converted_bert(tokenizer);
    change(header);
    try {
      static_cast<void>(Tokenizer::from_gguf(header));
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kInput);
      return error.message();
    }
    return std::string("accepted");
  };
  Json tokenizer = {{"added_tokens", Json::array()}};
  tokenizer["model"]["vocab"] = {{"[UNK]", 0}, {"a", 1}, {"##b", 2}};
  CHECK(refused(tokenizer, [](GgufHeader&) {}) == "accepted");
  CHECK(contains(refused(tokenizer, [](GgufHeader& h) { h.metadata.pop_back(); }), "token_type"));
  CHECK(
      contains(refused(tokenizer, [](GgufHeader& h) { h.metadata.erase(h.metadata.begin() + 1); }),
               "tokenizer.ggml.tokens"));
  tokenizer["model"]["vocab"] = {{"x", 0}, {"a", 1}, {"##b", 2}};
  CHECK(contains(refused(tokenizer, [](GgufHeader&) {}), "unknown_token_id"));
}
