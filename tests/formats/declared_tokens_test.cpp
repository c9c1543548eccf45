// Tokens that files beside a tokenizer add, with the ids that transformers gives them (5.17, asked
// by hand), and added tokens of white space as the tokenizers library cuts them.

#include <fmt/format.h>

#include "core/error.h"
#include "core/file.h"
#include "formats/tokenizer/sentencepiece.h"
#include "formats/tokenizer/tokenizer_impl.h"
#include "formats/tokenizer/whole_json.h"
#include "tests/catch.h"
#include "tests/formats/scratch.h"
#include "tests/formats/tiny_llama.h"

namespace lancet {
namespace {

using Files = std::map<std::string, std::string>;
using Ids = std::vector<TokenId>;

/// 18 tokens; "a" is 3, "b" is 4, the blank 6, and what it has no piece for <unk>, 0.
Tokenizer with(const Files& files) {
  const Scratch scratch;
  write_file(scratch / "tokenizer.json", dump_json(tiny::tokenizer()));
  for (const auto& [name, text] : files) write_file(scratch / name, text);
  return Tokenizer::open(scratch.path());
}

Tokenizer configured(const std::string& members) {
  return with({{"tokenizer_config.json", "{" + members + "}"}});
}

Ids ids(const Tokenizer& tokenizer, std::string_view text) {
  return tokenizer.encode(text, false).ids;
}

/// One added token of two blanks.
Tokenizer blanks(bool lstrip, bool rstrip) {
  Json json = Json::parse(R"({"version":"1.0","normalizer":null,"pre_tokenizer":null,
    "model":{"type":"WordLevel","unk_token":"<unk>","vocab":{"<unk>":0,"a":1,"b":2,"ab":3}}})");
  json["added_tokens"] = Json::array({{{"id", 4},
                                       {"content", "  "},
                                       {"single_word", false},
                                       {"lstrip", lstrip},
                                       {"rstrip", rstrip},
                                       {"normalized", false},
                                       {"special", false}}});
  return Tokenizer::from_json(json, "tokenizer.json");
}

}  // namespace

TEST_CASE("declared tokens: those that tokenizer.json lacks get the next ids", "[tokenizer]") {
  const auto cut = Ids{3, 18, 4};
  CHECK(ids(configured(R"("added_tokens_decoder":{"40":{"content":"<e>","special":true}})"),
            "a<e>b") == cut);
  CHECK(ids(with({{"added_tokens.json", R"({"<e>":18})"}}), "a<e>b") == cut);
  CHECK(ids(configured(R"("eos_token":"<e>")"), "a<e>b") == cut);
  CHECK(ids(configured(R"("image_token":"<e>")"), "a<e>b") == cut);
  CHECK(ids(configured(R"("additional_special_tokens":["<e>"])"), "a<e>b") == cut);
  CHECK(ids(configured(R"("extra_special_tokens":{"boi_token":"<e>"})"), "a<e>b") == cut);
  CHECK(ids(with({{"special_tokens_map.json", R"({"additional_special_tokens":["<e>"]})"}}),
            "a<e>b") == cut);
  // By number, special where a role has it; numbers only order them.
  const Tokenizer two = with({{"tokenizer_config.json", R"({"eos_token":"<e>"})"},
                              {"added_tokens.json", R"({"<e>":50,"<n>":49})"}});
  CHECK(ids(two, "<n><e>") == Ids{18, 19});
  CHECK(two.eos() == 19);
  CHECK(two.is_special(19));
  CHECK_FALSE(two.is_special(18));
  CHECK(two.decode({18, 19}, false) == "<n><e>");
  CHECK(two.vocab_size() == 20);
  // added_tokens_decoder stands instead of the older files.
  CHECK(configured(R"("added_tokens_decoder":{},"bos_token":"a")").bos() == 3);
  CHECK(with({{"tokenizer_config.json", R"({"added_tokens_decoder":{}})"},
              {"added_tokens.json", R"({"<e>":18})"}})
            .vocab_size() == 18);
}

TEST_CASE("declared tokens: added_tokens_decoder says how a known token is cut", "[tokenizer]") {
  const std::string flags = R"("added_tokens_decoder":{"17":{"content":"<tool>","lstrip":true,
    "rstrip":true,"normalized":false,"special":true}})";
  CHECK(ids(configured(""), "a <tool> b") == Ids{3, 6, 17, 6, 4});
  CHECK(ids(configured(flags), "a <tool> b") == Ids{3, 17, 4});
  CHECK(configured(flags).is_special(17));
}

TEST_CASE("declared tokens: the whole tokenizer.json has them with their ids", "[tokenizer]") {
  Files files{{"tokenizer.json", dump_json(tiny::tokenizer())}};
  CHECK(whole_tokenizer_json(files) == tiny::tokenizer());
  files["tokenizer_config.json"] = R"({"pad_token":"<e>"})";
  const Json whole = whole_tokenizer_json(files);
  CHECK(whole["added_tokens"].back()["content"] == "<e>");
  CHECK(whole["added_tokens"].back()["id"] == 18);
  CHECK(ids(Tokenizer::from_json(whole, "whole"), "a<e>b") == Ids{3, 18, 4});
  CHECK(whole_tokenizer_json({}).is_null());
}

TEST_CASE("declared tokens: a SentencePiece model has them after its pieces", "[tokenizer]") {
  using Type = SentencePieceModel::Type;
  SentencePieceModel model;
  model.unigram = GENERATE(true, false);
  model.pieces = {{"<unk>", 0, Type::kUnknown},
                  {"<s>", 0, Type::kControl},
                  {"a", -1, Type::kNormal},
                  {"b", -2, Type::kNormal}};
  model.unk = 0;
  model.add_dummy_prefix = false;
  const Files files{{"added_tokens.json", R"({"<y>":5,"<x>":4})"}};
  const DeclaredTokens declared = read_declared_tokens(files);
  const Tokenizer tokenizer(make_sentencepiece(model, {"m", "", 0}, declared));
  CHECK(ids(tokenizer, "a<x>b<y>") == Ids{2, 4, 3, 5});
  CHECK(ids(Tokenizer::from_json(tokenizer.json(), "j"), "a<x>b<y>") == Ids{2, 4, 3, 5});
}

TEST_CASE("declared tokens: broken files beside a tokenizer are refused or count as empty",
          "[tokenizer]") {
  CHECK_THROWS_AS(with({{"tokenizer_config.json", "{"}}), Error);
  CHECK_THROWS_AS(with({{"added_tokens.json", "{"}}), Error);
  for (const char* text :
       {"[]", "1", R"({"added_tokens_decoder":[1]})", R"({"added_tokens_decoder":{"x":{}}})",
        R"({"added_tokens_decoder":{"1":null,"-1":{"content":""}}})",
        R"({"bos_token":{"content":1},"eos_token":[],"extra_special_tokens":[1,null,{}]})"}) {
    INFO(text);
    CHECK(with({{"tokenizer_config.json", text}}).vocab_size() == 18);
  }
}

TEST_CASE("added tokens: white space that a token has taken whole is no token again",
          "[tokenizer]") {
  CHECK(ids(blanks(true, true), "a    b") == Ids{1, 4, 2});
  CHECK(ids(blanks(true, true), "a       b") == Ids{1, 4, 2});
  CHECK(ids(blanks(true, true), "      ") == Ids{4});
  CHECK(ids(blanks(false, true), "a    b") == Ids{1, 4, 4, 2});
  CHECK(ids(blanks(true, false), "a    b") == Ids{1, 4, 4, 2});
}

}  // namespace lancet
