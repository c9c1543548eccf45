// Vocabularies matched by token: which row becomes which.
#include "merge/tokens.h"

#include "core/json.h"
#include "merge/run.h"
#include "tests/catch.h"
#include "tests/merge/memory.h"

using namespace lancet;
using namespace lancet::test;

namespace {

/// A byte-level BPE tokenizer of single-letter tokens, ids in the order given.
Json tokenizer_of(const std::vector<std::string>& tokens,
                  const std::vector<std::string>& special = {}) {
  Json vocab = Json::object(), added = Json::array();
  for (const std::string& token : tokens) vocab[token] = vocab.size();
  for (const std::string& token : special) {
    added.push_back({{"id", vocab.size() + added.size()},
                     {"content", token},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer",
           {{"type", "ByteLevel"},
            {"add_prefix_space", false},
            {"trim_offsets", true},
            {"use_regex", true}}},
          {"post_processor", nullptr},
          {"decoder",
           {{"type", "ByteLevel"},
            {"add_prefix_space", true},
            {"trim_offsets", true},
            {"use_regex", true}}},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", vocab},
            {"merges", Json::array()}}}};
}

/// A model whose embedding row r is (first + r, -(first + r)).
void save(const fs::path& path, const Json& tokenizer, int rows, double first) {
  Values values;
  for (int r = 0; r < rows; ++r) {
    values.push_back(first + r);
    values.push_back(-(first + r));
  }
  save_model(
      path,
      {{"model.embed_tokens.weight", {{rows, 2}, values}}, {"model.norm.weight", {{2}, {1, 1}}}},
      DType::kF32, {{"model_type", "llama"}, {"vocab_size", rows}, {"tie_word_embeddings", true}});
  write_file(path / "tokenizer.json", dump_json(tokenizer));
}

struct Two {
  Scratch scratch;
  Two() {
    save(scratch / "a", tokenizer_of({"a", "b", "c"}, {"<x>"}), 4, 10);  // a=10 b=11 c=12 <x>=13
    save(scratch / "b", tokenizer_of({"c", "a", "d"}, {"<y>"}), 4,
         100);  // c=100 a=101 d=102 <y>=103
  }

  /// First column of the merged embedding: the mean of both models, weights 1.
  Values merge(const std::string& more, const std::string& out = "out") const {
    const RecipeFile file = parse_recipe(
        "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n" + more,
        "r.yml", scratch.path());
    run_merge(file, *plan_merge(file, {}), scratch / out, {});
    const ModelSource source = ModelSource::open(scratch / out);
    const TensorInfo& tensor = source.at("model.embed_tokens.weight");
    CHECK(source.config()["vocab_size"] == tensor.shape[0]);
    std::vector<float> values(tensor.elements());
    source.read_f32(tensor, 0, tensor.shape[0], values);
    Values column;
    for (std::size_t i = 0; i < values.size(); i += 2) {
      CHECK(values[i] == -values[i + 1]);
      column.push_back(static_cast<double>(values[i]));
    }
    return column;
  }
};

}  // namespace

TEST_CASE_METHOD(Two,
                 "tokens: a union has the first model's ids, then the others'; a shared token is "
                 "averaged over both rows") {
  // a: 10 and 101; c: 12 and 100; b, <x> are only in the first; d, <y> only in the second.
  CHECK(merge("tokenizer_source: union\n") == Values{55.5, 11, 56, 13, 102, 103});
  const Json json = read_json(scratch / "out" / "tokenizer.json");
  CHECK(json["model"]["vocab"]["d"] == 4);
  CHECK(json["added_tokens"][1]["content"] == "<y>");
  CHECK(json["added_tokens"][1]["id"] == 5);
}

TEST_CASE_METHOD(Two, "tokens: base and a named model keep that vocabulary") {
  CHECK(merge("tokenizer_source: base\n") == Values{55.5, 11, 56, 13});
  CHECK(merge("tokenizer_source: b\n", "out2") == Values{56, 55.5, 102, 103});
  CHECK(read_file(scratch / "out2" / "tokenizer.json") ==
        read_file(scratch / "b" / "tokenizer.json"));
}

TEST_CASE_METHOD(Two, "tokens: sources of single tokens, forced, by id, and zero") {
  const Values out = merge(
      "tokenizer:\n  source: union\n  tokens:\n    a: {source: b, force: true}\n"
      "    <x>: {source: {kind: model_token, model: b, token: d}}\n    <y>: {source: {kind: "
      "zero}}\n"
      "    d: {source: {kind: model_token, model: b, token_id: 3}}\n");
  // a: b's row in both; <x>: own 13 and d's 102; d: <y>'s row in the first, own in the second; <y>:
  // zero and own.
  CHECK(out == Values{101, 11, 56, 57.5, 102.5, 51.5});
}

TEST_CASE_METHOD(Two, "tokens: rows are padded to a multiple, with the mean of the model's rows") {
  const Values out = merge("tokenizer: {source: union, pad_to_multiple_of: 4}\n");
  REQUIRE(out.size() == 8);
  CHECK(out[6] == Approx((11.5 + 101.5) / 2));
  CHECK(out[7] == out[6]);
}

TEST_CASE_METHOD(Two, "tokens: a padded vocabulary stays padded where the tokens do not change") {
  save(scratch / "a", tokenizer_of({"a", "b"}), 6, 10);
  save(scratch / "b", tokenizer_of({"b", "a"}), 2, 100);
  const Values out = merge("tokenizer_source: union\n");
  REQUIRE(out.size() == 6);
  CHECK(out[0] == (10 + 101) / 2.0);
  CHECK(out[2] == 12);  // the first model's own padding in both
}

TEST_CASE_METHOD(Two,
                 "tokens: a model without tokenizer.json and a row that is not there are refused") {
  const auto bad = error_of([&] {
    merge("tokenizer: {tokens: {a: {source: {kind: model_token, model: b, token: nope}}}}\n");
  });
  REQUIRE(bad);
  CHECK(bad->kind() == ErrorKind::kMismatch);
  CHECK_THAT(bad->message(), Catch::Contains("'b'"));
  fs::remove(scratch / "b" / "tokenizer.json");
  const auto none = error_of([&] { merge("tokenizer_source: union\n"); });
  REQUIRE(none);
  CHECK(none->kind() == ErrorKind::kInput);
  CHECK_THAT(none->message(), Catch::Contains("tokenizer.json"));
}
