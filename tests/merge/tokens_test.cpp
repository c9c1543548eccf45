// Vocabularies matched by token: which row becomes which.
#include "merge/tokens.h"

#include "core/json.h"
#include "formats/tokenizer/tokenizer.h"
#include "merge/run.h"
#include "tests/catch.h"
#include "tests/merge/letter_models.h"

using namespace lancet;
using namespace lancet::test;

namespace {

struct Two {
  Scratch scratch;
  Two() {
    save(scratch / "a", tokenizer_of({"a", "b", "c"}, {"<x>"}), 4, 10);  // a=10 b=11 c=12 <x>=13
    save(scratch / "b", tokenizer_of({"c", "a", "d"}, {"<y>"}), 4,
         100);  // c=100 a=101 d=102 <y>=103
  }

  /// First column of the merged embedding: the mean of both models, weights 1.
  Values merge(const std::string& more, const std::string& out = "out") const {
    return merge_rows(scratch, more, out);
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

TEST_CASE_METHOD(Two, "tokens: a token that only the recipe names is added at the end") {
  const std::string tokens =
      "  tokens:\n    <new>: {source: {kind: zero}}\n"
      "    <q>: {source: {kind: model_token, model: b, token: d}}\n";
  CHECK(merge("tokenizer:\n  source: union\n" + tokens) ==
        Values{55.5, 11, 56, 13, 102, 103, 0, 102});
  const Json written = read_json(scratch / "out" / "tokenizer.json", 1 << 20);
  const Json added = written["added_tokens"];
  REQUIRE(added.size() == 4);
  CHECK(added[3]["content"] == "<q>");
  CHECK(added[3]["id"] == 7);
  CHECK(added[3]["special"] == false);
  const Tokenizer tokenizer = Tokenizer::from_json(written, "written");
  CHECK(tokenizer.encode("a<q>b", false).ids == std::vector<TokenId>{0, 7, 1});
  // Without a union too.
  CHECK(merge("tokenizer:\n  source: b\n" + tokens, "out2") == Values{56, 55.5, 102, 103, 0, 102});
  CHECK(merge("base_model: a\ntokenizer:\n  source: base\n" + tokens, "out3") ==
        Values{55.5, 11, 56, 13, 0, 102});
  const auto error =
      error_of([&] { merge("tokenizer: {tokens: {<new>: {source: b}}}\n", "out4"); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kMismatch);
}

TEST_CASE(
    "tokens: without a base a missing token is the mean over the merged models, in any order") {
  const Scratch scratch;
  save(scratch / "a", tokenizer_of({"a", "b"}), 2, 10);
  save(scratch / "b", tokenizer_of({"b", "a"}), 2, 20);
  save(scratch / "c", tokenizer_of({"a"}), 1, 40);
  save(scratch / "d", tokenizer_of({"a", "b"}), 2, 1000);
  const auto rows = [&](const std::string& text) {
    const RecipeFile file = parse_recipe("merge_method: linear\n" + text, "r.yml", scratch.path());
    const fs::path out = scratch / "out";
    fs::remove_all(out);
    run_merge(file, *plan_merge(file, {}), out, {});
    const ModelSource source = ModelSource::open(out);
    const TensorInfo& tensor = source.at("model.embed_tokens.weight");
    std::vector<float> values(tensor.elements());
    source.read_f32(tensor, 0, tensor.shape[0], values);
    return std::pair(values[0], values[2]);  // of a and b
  };
  const std::string a = "{model: a, parameters: {weight: 0.5}}",
                    b = "{model: b, parameters: {weight: 0.25}}",
                    c = "{model: c, parameters: {weight: 0.25}}";
  // b: 11, 20, and (11 + 20) / 2 in c; the tokenizer of a model that is not merged has no part.
  const std::pair expected(.5F * 10 + .25F * 21 + .25F * 40, .5F * 11 + .25F * 20 + .25F * 15.5F);
  for (const std::string& order : {a + ", " + b + ", " + c, c + ", " + b + ", " + a}) {
    CHECK(rows("models: [" + order + "]\ntokenizer_source: d\n") == expected);
  }
  CHECK(rows("models: [" + a + ", " + b + ", " + c + "]\ntokenizer_source: union\n") == expected);
  CHECK(rows("base_model: a\nmodels: [" + c + ", " + b + ", " + a + "]\ntokenizer_source: base\n")
            .second == .5F * 11 + .25F * 20 + .25F * 11);
}

TEST_CASE_METHOD(Two, "tokens: rows are padded to a multiple, with the mean of the model's rows") {
  const Values out = merge("tokenizer: {source: union, pad_to_multiple_of: 4}\n");
  REQUIRE(out.size() == 8);
  CHECK(out[6] == Approx((11.5 + 101.5) / 2));
  CHECK(out[7] == out[6]);
}

TEST_CASE_METHOD(Two, "tokens: new tokens fill the padding of the first model; it never shrinks") {
  save(scratch / "a", tokenizer_of({"a", "b"}), 6, 10);
  save(scratch / "b", tokenizer_of({"b", "a"}), 2, 100);
  const Values same = merge("tokenizer_source: union\n");
  REQUIRE(same.size() == 6);
  CHECK(same[0] == (10 + 101) / 2.0);
  CHECK(same[2] == 12);  // the first model's own padding in both
  save(scratch / "b", tokenizer_of({"b", "a", "c"}), 3, 100);
  const Values filled = merge("tokenizer_source: union\n", "out2");
  REQUIRE(filled.size() == 6);
  CHECK(filled[2] == 102);
  CHECK(filled[3] == 13);
  const RecipeFile file = parse_recipe(
      "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n"
      "tokenizer_source: union\n",
      "r.yml", scratch.path());
  CHECK(plan_merge(file, {.semantics = Semantics::kMergekit})->config["vocab_size"] == 3);
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

namespace {

/// tokenizer.json of the union of some models, as it is read anew.
Tokenizer joined(const Scratch& scratch, const std::string& models, const std::string& out) {
  const RecipeFile file = parse_recipe("merge_method: linear\nparameters: {weight: 1}\nmodels: [" +
                                           models + "]\ntokenizer_source: union\n",
                                       "r.yml", scratch.path());
  run_merge(file, *plan_merge(file, {}), scratch / out, {});
  const Json config = read_json(scratch / out / "config.json");
  const Tokenizer tokenizer =
      Tokenizer::from_json(read_json(scratch / out / "tokenizer.json"), "tokenizer.json");
  CHECK(tokenizer.vocab_size() == config["vocab_size"].get<std::int64_t>());
  return tokenizer;
}

/// The library's numbering: an added token that is no piece gets the number of pieces, or one more
/// than the largest so far.
std::map<std::string, std::int64_t> library_ids(const Json& json) {
  const Json& vocabulary = json["model"]["vocab"];
  std::map<std::string, std::int64_t> out;
  for (std::size_t i = 0; vocabulary.is_array() && i < vocabulary.size(); ++i)
    out.emplace(vocabulary[i][0], i);
  if (vocabulary.is_object()) out = vocabulary.get<std::map<std::string, std::int64_t>>();
  auto next = static_cast<std::int64_t>(out.size());
  for (const Json& added : json["added_tokens"]) {
    const auto [place, is_new] = out.emplace(added["content"], next);
    next = std::max(next, place->second + 1);
  }
  return out;
}

Json with_merges(Json tokenizer, const Json& merges) {
  tokenizer["model"]["merges"] = merges;
  return tokenizer;
}

Json unigram_of(const Json& pieces, const std::vector<std::string>& special) {
  Json out = tokenizer_of({}, special);
  for (std::size_t i = 0; i < special.size(); ++i) out["added_tokens"][i]["id"] = pieces.size() + i;
  out["pre_tokenizer"] = nullptr;
  out["decoder"] = nullptr;
  out["model"] = {{"type", "Unigram"}, {"unk_id", 0}, {"vocab", pieces}, {"byte_fallback", false}};
  return out;
}

}  // namespace

TEST_CASE("tokens: a union's ids are its rows as readers count them, whichever models add tokens") {
  const Scratch scratch;
  save(scratch / "a", tokenizer_of({"a", "b"}, {"<x>", "<y>"}), 4, 10);
  save(scratch / "b", tokenizer_of({"c", "a"}, {"<z>"}), 3, 20);
  save(scratch / "c", tokenizer_of({"d", "c", "e"}, {"<x>"}), 4, 30);
  save(scratch / "d", tokenizer_of({"e", "f", "a"}), 3, 40);
  const auto check = [&](const std::string& models, const std::vector<std::string>& expected) {
    const std::string out = "out" + std::to_string(expected.size());
    const Tokenizer tokenizer = joined(scratch, models, out);
    const Json json = read_json(scratch / out / "tokenizer.json");
    const auto theirs = library_ids(json);
    for (std::size_t id = 0; id < expected.size(); ++id) {
      CHECK(tokenizer.token(static_cast<TokenId>(id)) == expected[id]);
      CHECK(theirs.at(expected[id]) == static_cast<std::int64_t>(id));
    }
    for (const Json& added : json["added_tokens"])
      CHECK(theirs.at(added["content"]) == added["id"].get<std::int64_t>());
  };
  check("{model: a}, {model: b}", {"a", "b", "<x>", "<y>", "c", "<z>"});
  check("{model: a}, {model: b}, {model: c}, {model: d}",
        {"a", "b", "<x>", "<y>", "c", "<z>", "d", "e", "f"});
  save(scratch / "a", tokenizer_of({"a", "b"}), 2, 10);
  check("{model: a}, {model: d}", {"a", "b", "e", "f"});
}

TEST_CASE(
    "tokens: texts are cut into a union's new tokens, behind what the first model's merges do") {
  const Scratch scratch;
  const Json pair = Json::array({Json::array({"a", "b"}), Json::array({"ab", "c"})});
  save(scratch / "a", with_merges(tokenizer_of({"a", "b", "c", "bc"}), {"b c"}), 4, 10);
  save(scratch / "b", with_merges(tokenizer_of({"a", "b", "c", "ab", "abc"}), pair), 5, 20);
  save(scratch / "c", with_merges(tokenizer_of({"c", "a", "ca"}), {"c a"}), 3, 30);
  const Tokenizer tokenizer = joined(scratch, "{model: a}, {model: b}, {model: c}", "out");
  const auto cut = [&](const std::string& text) {
    std::vector<std::string> out;
    for (const TokenId id : tokenizer.encode(text).ids) out.push_back(tokenizer.token(id));
    return out;
  };
  CHECK(cut("bc") == std::vector<std::string>{"bc"});
  CHECK(cut("aba") == std::vector<std::string>{"ab", "a"});
  CHECK(cut("cac") == std::vector<std::string>{"ca", "c"});
  CHECK(cut("abc") == std::vector<std::string>{"a", "bc"});  // the first model's merge comes before
  CHECK(read_json(scratch / "out" / "tokenizer.json")["model"]["merges"] ==
        Json{"b c", "a b", "ab c", "c a"});
}

TEST_CASE("tokens: pieces of Unigram models keep their scores in a union, added tokens their ids") {
  const Scratch scratch;
  const auto pieces = [](std::initializer_list<std::pair<const char*, double>> list) {
    Json out = Json::array();
    for (const auto& [piece, score] : list) out.push_back(Json::array({piece, score}));
    return out;
  };
  save(scratch / "a", unigram_of(pieces({{"<unk>", 0}, {"a", -1}, {"b", -2}}), {"<x>"}), 4, 10);
  save(scratch / "b", unigram_of(pieces({{"<unk>", 0}, {"ab", -1.5}, {"b", -7}}), {"<y>"}), 4, 20);
  const Tokenizer tokenizer = joined(scratch, "{model: a}, {model: b}", "out");
  CHECK(tokenizer.encode("ab<y>b<x>").ids == std::vector<TokenId>{4, 5, 2, 3});
  const Json json = read_json(scratch / "out" / "tokenizer.json");
  CHECK(json["model"]["vocab"][4] == Json::array({"ab", -1.5}));
  CHECK(library_ids(json).at("<y>") == 5);
}

TEST_CASE("tokens: a tokenizer of another kind gives rows to a union and a warning") {
  const Scratch scratch;
  save(scratch / "a", tokenizer_of({"a", "b"}), 2, 10);
  Json words = tokenizer_of({"b", "##c"});
  words["model"] = {{"type", "WordPiece"},
                    {"unk_token", "b"},
                    {"continuing_subword_prefix", "##"},
                    {"max_input_chars_per_word", 100},
                    {"vocab", {{"b", 0}, {"##c", 1}}}};
  save(scratch / "b", words, 2, 20);
  const RecipeFile file = parse_recipe(
      "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n"
      "tokenizer_source: union\n",
      "r.yml", scratch.path());
  const auto plan = plan_merge(file, {});
  CHECK(plan->config["vocab_size"] == 3);
  REQUIRE(plan->warnings.size() == 1);
  CHECK_THAT(plan->warnings[0], Catch::Contains("WordPiece"));
}

TEST_CASE(
    "tokens: a row that a tied model's head lacks is the other's head's, not its embedding's") {
  const Scratch scratch;
  const auto model = [&](const std::string& name, const Json& tokenizer, bool tied, double first) {
    NamedTensors tensors{{"model.embed_tokens.weight", {{2, 1}, {first, first + 1}}}};
    if (!tied) tensors["lm_head.weight"] = {{2, 1}, {first + 50, first + 51}};
    save_model(scratch / name, tensors, DType::kF32,
               {{"model_type", "llama"}, {"vocab_size", 2}, {"tie_word_embeddings", tied}});
    write_file(scratch / name / "tokenizer.json", dump_json(tokenizer));
  };
  model("a", tokenizer_of({"a", "b"}), false, 0);
  model("t", tokenizer_of({"a", "c"}), true, 100);
  const RecipeFile file = parse_recipe(
      "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: t}]\n"
      "tokenizer_source: base\n",
      "r.yml", scratch.path());
  run_merge(file, *plan_merge(file, {}), scratch / "out", {});
  const ModelSource out = ModelSource::open(scratch / "out");
  std::vector<float> head(2), embedding(2);
  out.read_f32(out.at("lm_head.weight"), 0, 2, head);
  out.read_f32(out.at("model.embed_tokens.weight"), 0, 2, embedding);
  CHECK(head == std::vector<float>{75, 51});  // (50 + 100) / 2; b: 51 in both
  CHECK(embedding == std::vector<float>{50, 1});
}

TEST_CASE("tokens: the bias of a head has the rows of the head") {
  const Scratch scratch;
  const auto model = [&](const std::string& name, const Json& tokenizer, Values bias) {
    const auto rows = static_cast<std::int64_t>(bias.size());
    save_model(scratch / name,
               {{"lm_head.bias", {{rows}, bias}}, {"lm_head.weight", {{rows, 1}, bias}}},
               DType::kF32, {{"model_type", "phi"}, {"vocab_size", rows}});
    write_file(scratch / name / "tokenizer.json", dump_json(tokenizer));
  };
  model("a", tokenizer_of({"a", "b"}), {1, 2});
  model("b", tokenizer_of({"c", "b", "d"}), {10, 20, 30});
  const RecipeFile file = parse_recipe(
      "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n"
      "tokenizer: {source: union, pad_to_multiple_of: 5}\n",
      "r.yml", scratch.path());
  run_merge(file, *plan_merge(file, {}), scratch / "out", {});
  const ModelSource out = ModelSource::open(scratch / "out");
  REQUIRE(out.at("lm_head.bias").shape == std::vector<std::int64_t>{5});
  std::vector<float> bias(5), head(5);
  out.read_f32(out.at("lm_head.bias"), 0, 5, bias);
  out.read_f32(out.at("lm_head.weight"), 0, 5, head);
  CHECK(bias == std::vector<float>{1, 11, 10, 30, 10.75});  // padding: the mean of each, averaged
  CHECK(bias == head);
}

TEST_CASE_METHOD(Two, "tokens: another model's tokenizer brings its ids and its chat template") {
  const auto say = [&](const std::string& name, int eos, const std::string& talk) {
    Json config = read_json(scratch / name / "config.json");
    config.update({{"eos_token_id", eos}, {"pad_token_id", 0}, {"image_token_id", 2}});
    write_file(scratch / name / "config.json", dump_json(config));
    write_file(scratch / name / "generation_config.json",
               dump_json(Json{{"eos_token_id", {eos, 1}}, {"temperature", 0.5}}));
    write_file(scratch / name / "chat_template.jinja", talk);
  };
  say("a", 3, "talk of a");
  say("b", 2, "talk of b");
  Json chosen = read_json(scratch / "b" / "config.json");
  chosen["pad_token_id"] = nullptr;
  write_file(scratch / "b" / "config.json", dump_json(chosen));
  write_file(scratch / "b" / "tokenizer_config.json", R"({"pad_token": {"content": "<y>"}})");
  merge("tokenizer_source: b\n");
  const Json config = read_json(scratch / "out" / "config.json");
  CHECK(config["eos_token_id"] == 2);
  CHECK(config["pad_token_id"] == 3);    // <y>, by its role
  CHECK(config["image_token_id"] == 0);  // c, where the tokenizer has it
  const Json generation = read_json(scratch / "out" / "generation_config.json");
  CHECK(generation["eos_token_id"] == Json{2, 1});
  CHECK(generation["temperature"] == 0.5);
  CHECK(read_file(scratch / "out" / "chat_template.jinja") == "talk of b");
  merge("tokenizer_source: base\n", "own");
  CHECK(read_json(scratch / "own" / "config.json")["eos_token_id"] == 3);
  CHECK(read_file(scratch / "own" / "chat_template.jinja") == "talk of a");
  merge("tokenizer_source: b\nchat_template: \"{{ messages[0]['content'] }}\"\n", "said");
  CHECK(read_file(scratch / "said" / "chat_template.jinja") == "{{ messages[0]['content'] }}");
}

TEST_CASE_METHOD(Two, "tokens: rows of different tokens that are merged by number get a warning") {
  const auto warnings = [&](const std::string& more) {
    const RecipeFile file = parse_recipe(
        "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n" + more,
        "r.yml", scratch.path());
    return plan_merge(file, {})->warnings;
  };
  REQUIRE(warnings("").size() == 1);
  CHECK_THAT(warnings("")[0], Catch::Contains("'a' and 'b'") && Catch::Contains("the id 0") &&
                                  Catch::Contains("'c'") && Catch::Contains("union"));
  CHECK(warnings("tokenizer_source: union\n").empty());
  Json same = tokenizer_of({"a", "b", "c"}, {"<x>"});
  same["truncation"] = {{"max_length", 8}};  // another text, the same tokens
  save(scratch / "b", same, 4, 100);
  CHECK(warnings("").empty());
  write_file(scratch / "b" / "tokenizer.json", "{");
  CHECK(warnings("").empty());
}

TEST_CASE("tokens: embeddings and heads of every family are told by their rows") {
  const auto check = [](const std::string& embedding, const std::string& head, Json config) {
    INFO(embedding);
    const Scratch scratch;
    for (const std::string name : {"a", "b"}) {
      const Json tokenizer =
          name == "a" ? tokenizer_of({"a", "b", "c"}) : tokenizer_of({"c", "b", "a"});
      NamedTensors tensors{{"model.layers.0.mlp.weight", {{3, 2}, {1, 2, 3, 4, 5, 6}}},
                           {embedding, {{3, 2}, {1, 2, 3, 4, 5, 6}}}};
      if (!head.empty()) tensors[head] = {{3, 2}, {1, 2, 3, 4, 5, 6}};
      save_model(scratch / name, tensors, DType::kF32, config);
      write_file(scratch / name / "tokenizer.json", dump_json(tokenizer));
    }
    const RecipeFile file = parse_recipe(
        "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: "
        "b}]\ntokenizer: {source: union, pad_to_multiple_of: 4}\n",
        "r.yml", scratch.path());
    run_merge(file, *plan_merge(file, {}), scratch / "out", {});
    const ModelSource source = ModelSource::open(scratch / "out");
    for (const std::string& name : {embedding, head}) {
      if (name.empty()) continue;
      const TensorInfo& tensor = source.at(name);
      REQUIRE(tensor.shape[0] == 4);
      std::vector<float> values(8);
      source.read_f32(tensor, 0, 4, values);
      CHECK(std::vector<float>(values.begin(), values.begin() + 6) ==
            std::vector<float>{3, 4, 3, 4, 3, 4});
    }
    CHECK(source.at("model.layers.0.mlp.weight").shape[0] == 3);
    return source.config();
  };
  const auto with = [](const std::string& type) {
    return Json{{"model_type", type}, {"vocab_size", 3}};
  };
  check("gpt_neox.embed_in.weight", "embed_out.weight", with("gpt_neox"));
  check("backbone.embeddings.weight", "", with("mamba"));
  check("shared.weight", "lm_head.weight", with("t5"));
  check("rwkv.embeddings.weight", "head.weight", with("rwkv"));
  const Json nested = check("language_model.model.embed_tokens.weight", "",
                            {{"model_type", "gemma3"}, {"text_config", {{"vocab_size", 3}}}});
  CHECK(nested["text_config"]["vocab_size"] == 4);
  CHECK_FALSE(nested.contains("vocab_size"));
  // Where vocab_size is left to its default the embedding says it.
  const Json unsaid = check("language_model.model.embed_tokens.weight", "",
                            {{"model_type", "gemma3"}, {"text_config", Json::object()}});
  CHECK(unsaid["text_config"]["vocab_size"] == 4);
}
