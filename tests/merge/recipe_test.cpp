#include "merge/recipe.h"

#include "tests/catch.h"
#include "tests/core/scratch.h"

using namespace lancet;
using lancet::test::error_of;

namespace {

RecipeFile parse(const std::string& text) { return parse_recipe(text, "r.yml", "."); }

const std::string kModels = "models:\n  - model: a\n    parameters: {weight: 1}\n";

/// "MESSAGE | HINT" of the refusal.
std::string refusal(const std::string& text) {
  const auto error = error_of([&] { static_cast<void>(parse(text)); });
  if (!error) return "accepted";
  CHECK(error->kind() == ErrorKind::kUsage);
  return error->message() + " | " + error->hint();
}

}  // namespace

TEST_CASE("recipe: an unknown key is refused with its place and the nearest known one") {
  CHECK_THAT(refusal("merge_method: linear\nmodel: a\n"),
             Catch::Contains("r.yml:2:1: unknown key 'model'") &&
                 Catch::Contains("did you mean 'models'?"));
  CHECK_THAT(refusal("merge_method: linear\nmodels:\n  - model: a\n    weight: 1\n"),
             Catch::Contains("r.yml:4:5: unknown key 'weight'"));
  CHECK_THAT(refusal("merge_method: linear\nnormalize: true\n" + kModels),
             Catch::Contains("unknown key 'normalize'"));
}

TEST_CASE("recipe: an unknown method or parameter is refused with the nearest known one") {
  CHECK_THAT(refusal("merge_method: tise\n" + kModels),
             Catch::Contains("r.yml:1:15: unknown merge_method 'tise'") &&
                 Catch::Contains("did you mean 'ties'?"));
  CHECK_THAT(refusal("merge_method: ties\nparameters:\n  densty: 0.5\n" + kModels),
             Catch::Contains("r.yml:3:3: unknown parameter 'densty'") &&
                 Catch::Contains("did you mean 'density'?"));
}

TEST_CASE("recipe: values out of range, NaN and wrong kinds are refused with their place") {
  CHECK_THAT(refusal("merge_method: ties\nparameters: {density: 2}\n" + kModels),
             Catch::Contains("density: expected a number in [0, 1], found '2'"));
  CHECK_THAT(refusal("merge_method: ties\nparameters: {density: -0.5}\n" + kModels),
             Catch::Contains("[0, 1]"));
  CHECK_THAT(refusal("merge_method: linear\nparameters: {weight: .nan}\n" + kModels),
             Catch::Contains("found '.nan'"));
  CHECK_THAT(refusal("merge_method: linear\nparameters: {normalize: maybe}\n" + kModels),
             Catch::Contains("expected true or false, found 'maybe'"));
  CHECK_THAT(refusal("merge_method: linear\nparameters: {weight: []}\n" + kModels),
             Catch::Contains("found none"));
}

TEST_CASE("recipe: layer ranges are checked") {
  const auto slices = [](const std::string& range) {
    return "merge_method: passthrough\nslices:\n  - sources:\n      - model: a\n        "
           "layer_range: " +
           range + "\n";
  };
  CHECK_THAT(refusal(slices("[0, -1]")),
             Catch::Contains("r.yml:5:26") && Catch::Contains("at least 0"));
  CHECK_THAT(refusal(slices("[2, 0]")), Catch::Contains("expected begin < end"));
  CHECK_THAT(refusal(slices("[1, 1]")), Catch::Contains("expected begin < end"));
  CHECK_THAT(refusal(slices("3")), Catch::Contains("expected [begin, end)"));
  CHECK(parse(slices("[0, 3]")).documents[0].slices[0].sources[0].layers->second == 3);
}

TEST_CASE("recipe: exactly one of models, slices and modules is wanted") {
  CHECK_THAT(refusal("merge_method: linear\n"), Catch::Contains("found 0"));
  CHECK_THAT(refusal("merge_method: linear\n" + kModels +
                     "slices: [{sources: [{model: a, layer_range: [0, 1]}]}]\n"),
             Catch::Contains("found 2"));
}

TEST_CASE(
    "recipe: a gradient is interpolated over the layers, the first and last value at the ends") {
  const RecipeFile file =
      parse("merge_method: slerp\nbase_model: a\nparameters: {t: [0, .5, .3, .7, 1]}\n" +
            std::string("models: [{model: a}, {model: b}]\n"));
  const RecipeValue& t = file.documents[0].parameters.at("t");
  const auto at = [&](int layer) { return *t.at("x", layer / 31.0, false); };
  const std::map<int, double> expected{{0, 0},        {1, .064516},  {7, .451613},  {8, .493548},
                                       {15, .312903}, {16, .325806}, {23, .687097}, {24, .729032},
                                       {30, .96129},  {31, 1}};
  for (const auto& [layer, value] : expected) {
    INFO("layer " << layer);
    CHECK(at(layer) == Approx(value).margin(1e-6));
  }
}

TEST_CASE("recipe: flags in a gradient are picked, not interpolated") {
  const RecipeFile file =
      parse("merge_method: linear\nparameters: {normalize: [true, false]}\n" + kModels);
  const RecipeValue& value = file.documents[0].parameters.at("normalize");
  CHECK(*value.at("x", 0.99, true) == 1);
  CHECK(*value.at("x", 1, true) == 0);
}

TEST_CASE("recipe: of filtered values the first that matches holds, also outside a list") {
  const RecipeFile file = parse(
      "merge_method: linear\nparameters:\n  weight:\n    - {filter: self_attn, value: [0, 1]}\n    "
      "- {filter: '*.mlp.*', value: 0.5}\n"
      "    - {filter: '/norm$/', value: 3}\n" +
      kModels);
  const RecipeValue& weight = file.documents[0].parameters.at("weight");
  CHECK(*weight.at("model.layers.0.self_attn.q_proj", .25, false) == .25);
  CHECK(*weight.at("model.layers.0.mlp.up", 1, false) == .5);
  CHECK(*weight.at("model.norm", 1, false) == 3);
  CHECK_FALSE(weight.at("lm_head.weight", 0, false));
  const RecipeFile bare =
      parse("merge_method: linear\nparameters: {weight: {filter: mlp, value: 2}}\n" + kModels);
  CHECK(*bare.documents[0].parameters.at("weight").at("mlp.up", 0, false) == 2);
  CHECK_THAT(
      refusal("merge_method: linear\nparameters: {weight: {filter: '/(/', value: 2}}\n" + kModels),
      Catch::Contains("filter /(/"));
}

TEST_CASE("recipe: dtype names are mergekit's, with or without torch.") {
  CHECK(parse("merge_method: linear\ndtype: torch.bfloat16\n" + kModels).documents[0].dtype ==
        "bfloat16");
  CHECK_THAT(refusal("merge_method: linear\ndtype: bfloat17\n" + kModels),
             Catch::Contains("did you mean 'bfloat16'?"));
  CHECK_THAT(refusal("merge_method: linear\ndtype: int64\n" + kModels),
             Catch::Contains("found 'int64'"));
}

TEST_CASE("recipe: tokenizer_source and tokenizer exclude each other; token sources are read") {
  CHECK_THAT(refusal("merge_method: linear\ntokenizer_source: union\ntokenizer: {source: base}\n" +
                     kModels),
             Catch::Contains("found both"));
  const RecipeFile file = parse(
      "merge_method: linear\ntokenizer:\n  source: union\n  pad_to_multiple_of: 64\n  tokens:\n    "
      "<x>: {source: a, force: true}\n"
      "    <y>: {source: {kind: model_token, model: a, token: z}}\n    <z>: {source: {kind: "
      "zero}}\n" +
      kModels);
  const RecipeTokenizer& tokenizer = *file.documents[0].tokenizer;
  REQUIRE(tokenizer.tokens.size() == 3);
  CHECK(tokenizer.pad_to_multiple_of == 64);
  CHECK(tokenizer.tokens[0].force);
  CHECK(tokenizer.tokens[1].model_token == "z");
  CHECK(tokenizer.tokens[2].kind == RecipeToken::Kind::kZero);
}

TEST_CASE("recipe: several documents need names, each its own") {
  const std::string one = "merge_method: linear\n" + kModels;
  CHECK(parse("name: x\n" + one + "---\n" + one).documents.size() == 2);
  CHECK_THAT(refusal(one + "---\n" + one), Catch::Contains("one document without a name"));
  CHECK_THAT(refusal("name: x\n" + one + "---\nname: x\n" + one),
             Catch::Contains("two documents are named 'x'"));
}
