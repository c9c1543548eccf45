// SentencePiece models and tiktoken rank files, against ids that their libraries gave
// (tests/oracle/check_sentencepiece.py compares them live), and damaged ones.

#include <fmt/format.h>

#include "core/base64.h"
#include "core/error.h"
#include "formats/containers/gguf.h"
#include "formats/tokenizer/sentencepiece.h"
#include "formats/tokenizer/tokenizer_impl.h"
#include "tests/catch.h"
#include "tokenizer_fixture.h"

using namespace lancet;
using namespace lancet::test;

namespace {

const Where kHere{"tokenizer.model", "", 0};

Tokenizer tokenizer_of(const SentencePieceModel& model) {
  return Tokenizer(make_sentencepiece(model, kHere));
}

SentencePieceModel read_model(const std::string& name) {
  return parse_sentencepiece(read_file(unpacked("goldens") / "sentencepiece" / (name + ".model")),
                             kHere);
}

/// The metadata that a converter writes for the model.
GgufHeader gguf_of(const SentencePieceModel& model) {
  std::vector<std::string> tokens;
  std::vector<double> scores;
  std::vector<std::int64_t> types;
  std::vector<std::uint64_t> charsmap;
  for (const auto& piece : model.pieces) {
    tokens.push_back(piece.text);
    scores.push_back(static_cast<double>(piece.score));
    types.push_back(static_cast<std::int64_t>(piece.type));
  }
  for (const char c : model.charsmap) charsmap.push_back(static_cast<std::uint8_t>(c));
  const auto value = [](GgufType type, GgufType element, auto content) {
    GgufValue out;
    out.type = type;
    out.element = element;
    out.value = std::move(content);
    return out;
  };
  const auto flag = [&](bool on) { return value(GgufType::kBool, GgufType::kBool, on); };
  GgufHeader header;
  header.metadata = {
      {"tokenizer.ggml.model",
       value(GgufType::kString, GgufType::kString, std::string(model.unigram ? "t5" : "llama"))},
      {"tokenizer.ggml.tokens", value(GgufType::kArray, GgufType::kString, tokens)},
      {"tokenizer.ggml.scores", value(GgufType::kArray, GgufType::kF32, scores)},
      {"tokenizer.ggml.token_type", value(GgufType::kArray, GgufType::kI32, types)},
      {"tokenizer.ggml.precompiled_charsmap", value(GgufType::kArray, GgufType::kU8, charsmap)},
      {"tokenizer.ggml.add_space_prefix", flag(model.add_dummy_prefix)},
      {"tokenizer.ggml.remove_extra_whitespaces", flag(model.remove_extra_whitespaces)},
      {"tokenizer.ggml.add_bos_token", flag(false)},
      {"tokenizer.ggml.add_eos_token", flag(false)}};
  return header;
}

}  // namespace

TEST_CASE("sentencepiece: ids equal the sentencepiece library's, also by way of GGUF",
          "[tokenizer]") {
  if (const std::string missing = missing_for_goldens(); !missing.empty()) LANCET_SKIP(missing);
  for (const std::string name : {"llama2_like", "gemma_like", "unigram_nfkc", "unigram_cf_bytes"}) {
    INFO(name);
    const SentencePieceModel model = read_model(name);
    const Tokenizer tokenizer = tokenizer_of(model);
    const Tokenizer converted = Tokenizer::from_gguf(gguf_of(model));
    const auto lines = read_lines(unpacked("goldens") / "sentencepiece" / (name + ".jsonl"));
    REQUIRE(lines.size() > 200);
    int differences = 0;
    for (const Json& line : lines) {
      const auto text = line.at("t").get<std::string>();
      differences += tokenizer.encode(text).ids == ids_of(line) ? 0 : 1;
      differences += converted.encode(text).ids == ids_of(line) ? 0 : 1;
    }
    CHECK(differences == 0);
  }
}

TEST_CASE("sentencepiece: a damaged file is an input error wherever it is cut", "[tokenizer]") {
  if (const std::string missing = missing_for_goldens(); !missing.empty()) LANCET_SKIP(missing);
  const std::string whole = read_file(unpacked("goldens") / "sentencepiece" / "llama2_like.model");
  std::size_t refused = 0;
  for (std::size_t size = 0; size < whole.size(); size += 7) {
    try {
      static_cast<void>(tokenizer_of(parse_sentencepiece(whole.substr(0, size), kHere)));
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kInput);
      ++refused;
    }
  }
  CHECK(refused > 1000);
}

TEST_CASE("tiktoken: lines that are no ranks are refused by number", "[tokenizer]") {
  std::string ranks;
  for (int byte = 0; byte < 256; ++byte)
    ranks += fmt::format("{} {}\n", encode_base64(std::string(1, static_cast<char>(byte))), byte);
  const auto read = [](const std::string& text) { return read_model_file(text, "ranks.tiktoken"); };
  const Tokenizer tokenizer(read(ranks + encode_base64("ab") + " 256\n"));
  CHECK(tokenizer.encode("abab c").ids == std::vector<TokenId>{256, 256, ' ', 'c'});
  CHECK(tokenizer.decode({256, 'c'}) == "abc");
  for (const std::string line :
       {"YWI= x", "YWI=", "Y 256", "YWI= -1", "YWI= 255", "YQ== 256", " 256", "YWI= 99999999999"}) {
    INFO(line);
    CHECK_THROWS_AS(read(ranks + line + "\n"), Error);
  }
  CHECK_THROWS_AS(read("YWI= 0\n"), Error);  // no single bytes
}
