// Vocabularies matched by token where not all of them stands in tokenizer.json.
#include <cstring>

#include "formats/tokenizer/tokenizer.h"
#include "merge/graft.h"
#include "tests/catch.h"
#include "tests/merge/letter_models.h"

using namespace lancet;
using namespace lancet::test;

namespace {

/// The models of tests/merge/tokens_test.cpp, whose special tokens other files declare.
struct Declared {
  Scratch scratch;
  Declared() {
    save(scratch / "a", tokenizer_of({"a", "b", "c"}), 4, 10);  // a=10 b=11 c=12 <x>=13
    write_file(scratch / "a" / "tokenizer_config.json",
               R"({"added_tokens_decoder": {"3": {"content": "<x>", "special": true}}})");
    save(scratch / "b", tokenizer_of({"c", "a", "d"}), 4, 100);  // c=100 a=101 d=102 <y>=103
    write_file(scratch / "b" / "added_tokens.json", R"({"<y>": 3})");
    write_file(scratch / "b" / "special_tokens_map.json", R"({"eos_token": "<y>"})");
  }
};

/// A tokenizer.model of a BPE with these pieces behind <unk>, <s> and </s>.
std::string sentencepiece(const std::vector<std::string>& pieces) {
  const auto field = [](int number, const std::string& bytes) {
    return std::string{static_cast<char>(number << 3 | 2), static_cast<char>(bytes.size())} + bytes;
  };
  const auto piece = [&](const std::string& text, float score, char type) {
    std::string bits(4, '\0');
    std::memcpy(bits.data(), &score, 4);
    return field(1, field(1, text) + "\x15" + bits + "\x18" + type);
  };
  std::string out = piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3);
  for (std::size_t i = 0; i < pieces.size(); ++i)
    out += piece(pieces[i], -static_cast<float>(i), 1);
  return out + field(2, "\x18\x02");  // trainer_spec: model_type BPE
}

}  // namespace

TEST_CASE_METHOD(Declared, "token files: a union knows tokens that other files declare") {
  CHECK(merge_rows(scratch, "tokenizer_source: union\n", "out") ==
        Values{55.5, 11, 56, 13, 102, 103});
  const Json written = read_json(scratch / "out" / "tokenizer.json");
  CHECK(written["model"]["vocab"]["<x>"] == 3);
  CHECK(written["model"]["vocab"]["<y>"] == 5);
  CHECK(written["added_tokens"].size() == 2);
  const Json config = read_json(scratch / "out" / "tokenizer_config.json");
  CHECK(config["added_tokens_decoder"]["5"]["content"] == "<y>");
  CHECK(Tokenizer::open(scratch / "out").encode("d<y>a<x>").ids ==
        std::vector<TokenId>{4, 5, 0, 3});
}

TEST_CASE_METHOD(Declared, "token files: another model's tokenizer brings the declared tokens") {
  CHECK(merge_rows(scratch, "tokenizer_source: b\n", "out") == Values{56, 55.5, 102, 103});
  for (const char* name : {"tokenizer.json", "added_tokens.json", "special_tokens_map.json"})
    CHECK(read_file(scratch / "out" / name) == read_file(scratch / "b" / name));
  const std::string tokens =
      "tokenizer:\n  source: base\n  tokens:\n    <x>: {source: {kind: model_token, model: b, "
      "token: <y>}, force: true}\n";
  CHECK(merge_rows(scratch, tokens, "named") == Values{55.5, 11, 56, 103});
  CHECK(
      merge_rows(scratch, "tokenizer: {source: union, pad_to_multiple_of: 4}\n", "padded").size() ==
      8);
}

TEST_CASE_METHOD(Declared, "token files: rows by number warn of declared tokens that differ") {
  const auto warnings = [&] {
    const RecipeFile file = parse_recipe(
        "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n",
        "r.yml", scratch.path());
    return plan_merge(file, {})->warnings;
  };
  save(scratch / "b", tokenizer_of({"a", "b", "c"}), 4, 100);
  REQUIRE(warnings().size() == 1);
  CHECK_THAT(warnings()[0], Catch::Contains("the id 3 is '<x>'") && Catch::Contains("'<y>'"));
  write_file(scratch / "b" / "added_tokens.json", R"({"<x>": 3})");
  write_file(scratch / "b" / "special_tokens_map.json", "{}");
  CHECK(warnings().empty());
}

TEST_CASE("token files: a tokenizer.model alone is a vocabulary to match by") {
  const Scratch scratch;
  const std::vector<std::string> own{"a", "b", "c"}, others{"c", "a", "d"};
  for (const char* name : {"a", "b"}) {
    save(scratch / name, {}, 6, *name == 'a' ? 10 : 100);
    fs::remove(scratch / name / "tokenizer.json");
    write_file(scratch / name / "tokenizer.model", sentencepiece(*name == 'a' ? own : others));
  }
  // <unk> <s> </s> a b c, and d only in the second, at 105.
  CHECK(merge_rows(scratch, "tokenizer_source: union\n", "out") ==
        Values{55, 56, 57, 58.5, 14, 59, 105});
  CHECK_FALSE(fs::exists(scratch / "out" / "tokenizer.model"));
  CHECK(Tokenizer::open(scratch / "out").id("d") == 6);
  CHECK(merge_rows(scratch, "tokenizer_source: base\n", "base") ==
        Values{55, 56, 57, 58.5, 14, 59});
  CHECK(read_file(scratch / "base" / "tokenizer.model") == sentencepiece(own));
}

TEST_CASE_METHOD(Declared, "token files: a graft has the donor's declared tokens at their rows") {
  Graft graft(scratch / "a", scratch / "b", {.method = GraftMethod::kMean});
  graft.solve();
  const Json plan = graft.plan();
  CHECK(plan["tokens"] == 4);
  CHECK(plan["rows"] == 4);
  CHECK(plan["special"] == 0);
  write_file(scratch / "b" / "added_tokens.json", R"({"<x>": 3})");
  write_file(scratch / "b" / "special_tokens_map.json", R"({"eos_token": "<x>"})");
  CHECK(Graft(scratch / "a", scratch / "b", {.method = GraftMethod::kMean}).plan()["special"] == 1);
}
