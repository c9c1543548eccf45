// Definitions of the metrics on numbers made by hand, guards, layers, subjects and leak prompts.
#include "surgery/probe.h"

#include "core/error.h"
#include "surgery/guard.h"
#include "surgery/layers.h"
#include "surgery/leak_prompts.h"
#include "surgery/subject.h"
#include "tests/catch.h"
#include "tests/formats/tiny_llama.h"

using namespace lancet;

namespace {

Question asked(ProbeKind kind) { return {0, kind, {1}, {2}, {}}; }
Answer said(double target, std::optional<double> other, bool says_target, bool says_other) {
  return {target, other, says_target ? 1 : 9, says_target, says_other, says_target ? 1.0 : 0.5};
}

}  // namespace

TEST_CASE("probe: every metric is the share that its definition says") {
  const std::vector<Question> questions{
      asked(ProbeKind::kPrompt),     asked(ProbeKind::kParaphrase), asked(ProbeKind::kParaphrase),
      asked(ProbeKind::kParaphrase), asked(ProbeKind::kNeighbor),   asked(ProbeKind::kNeighbor),
      asked(ProbeKind::kLeak),       asked(ProbeKind::kLeak),       asked(ProbeKind::kLeak),
      asked(ProbeKind::kLeak),       asked(ProbeKind::kUnrelated)};
  const std::vector<Answer> after{
      said(0.1, 2.0, true, false), said(0.5, 1.0, true, false), said(1.0, 1.5, false, false),
      said(2.0, 1.5, false, true), said(3.0, 0.2, false, true), said(1.0, 2.0, false, false),
      said(0.1, {}, true, false),  said(0.1, {}, true, false),  said(5.0, {}, false, false),
      said(5.0, {}, false, false), said(0.1, {}, true, false)};
  std::vector<Answer> before(after.size(), said(5, 1, false, true));
  before[7].says_target = true;
  const FactMetrics metrics = measure(0, questions, after, before);
  CHECK(metrics.es == 1.0);
  CHECK(metrics.em == 1.0);
  CHECK(*metrics.ps == Approx(2.0 / 3));
  CHECK(*metrics.pem == Approx(1.0 / 3));
  CHECK(metrics.ns == 0.5);
  CHECK(metrics.na == 0.5);
  CHECK(metrics.leak == 0.25);  // the second of four said it before
  CHECK(metrics.leak_unrelated == 1.0);
  CHECK_FALSE(metrics.ge.has_value());
  CHECK(metrics.ea == 1.0);
  CHECK(*metrics.pa == Approx(2.0 / 3));
  CHECK(*metrics.efficacy_magnitude == Approx(std::exp(-0.1) - std::exp(-2.0)));
  CHECK(*metrics.neighborhood_magnitude ==
        Approx((std::exp(-0.2) - std::exp(-3.0) + std::exp(-2.0) - std::exp(-1.0)) / 2));
  CHECK(measure(0, questions, after, {}).leak == 0.5);
  CHECK_FALSE(measure(1, questions, after, before).es.has_value());
}

TEST_CASE("probe: means skip facts that lack a metric") {
  FactMetrics a, b;
  a.es = 1;
  b.es = 0;
  b.ns = 0.5;
  const FactMetrics mean = mean_metrics({a, b});
  CHECK(mean.es == 0.5);
  CHECK(mean.ns == 0.5);
  CHECK_FALSE(mean.ps.has_value());
  CHECK(metrics_to_json(mean)["ps"].is_null());
}

TEST_CASE("probe: n-gram entropy is that of the definition") {
  // 4 words: 3 different bigrams (log2 3 bits), 2 different trigrams (1 bit).
  CHECK(ngram_entropy("one two three four") == Approx(0.5 * (2.0 / 3 * std::log2(3.0) + 4.0 / 3)));
  CHECK(ngram_entropy("a a a a a a") == 0);
  CHECK(ngram_entropy("") == 0);
}

TEST_CASE("guard: each limit stops, and a value that is not a number stops too") {
  GuardValues good;
  good.leak_rate = 0.1;
  good.perplexity_before = 20;
  good.perplexity_after = 20.2;
  good.relative_norm = 0.2;
  good.denominator = 0.5;
  CHECK(judge(good, {}).passed);
  const auto stops = [&](const std::function<void(GuardValues&)>& change, const std::string& name) {
    GuardValues values = good;
    change(values);
    const GuardVerdict verdict = judge(values, {});
    return !verdict.passed && verdict.problems.size() == 1 &&
           verdict.problems[0].starts_with(name) && verdict.json["passed"] == false;
  };
  CHECK(stops([](GuardValues& v) { v.leak_rate = 0.11; }, "leak_rate"));
  CHECK(stops([](GuardValues& v) { v.perplexity_after = 22.1; }, "perplexity_ratio"));
  CHECK(stops([](GuardValues& v) { v.perplexity_after = NAN; }, "perplexity_ratio"));
  CHECK(stops([](GuardValues& v) { v.relative_norm = 1.5; }, "relative_norm"));
  CHECK(stops([](GuardValues& v) { v.relative_norm = NAN; }, "relative_norm"));
  CHECK(stops([](GuardValues& v) { v.denominator = 1e-4; }, "denominator"));
}

TEST_CASE("guard: the spectral norm is the largest singular value") {
  at::Tensor m = at::zeros({3, 4}, at::kDouble);
  m[0][1] = 3;
  m[2][2] = -7;
  CHECK(spectral_norm(m) == Approx(7).epsilon(1e-6));
  CHECK(spectral_norm(at::zeros({2, 2})) == 0);
  CHECK(spectral_norm(at::outer(at::tensor({3.0, 4.0}), at::tensor({0.0, 2.0}))) == Approx(10));
}

TEST_CASE("layers: spellings, presets and the sweep's choice") {
  CHECK(parse_layers("5", 30) == std::vector<std::int64_t>{5});
  CHECK(parse_layers("4-6", 30) == std::vector<std::int64_t>{4, 5, 6});
  for (const char* bad : {"30", "-1", "x", "6-4", "4-30", "", "5x", "4-"})
    CHECK_THROWS_AS(parse_layers(bad, 30), Error);
  DecoderSpec spec;
  spec.model_type = "llama";
  spec.layers = 30;
  spec.layer.resize(30);
  spec.d_model = 576;
  const auto never = [](std::int64_t) -> LayerTrial { throw std::runtime_error("tried"); };
  CHECK(choose_layers("auto", spec, never).reason.starts_with("preset"));
  CHECK(choose_layers("7", spec, never).reason == "given");
  spec.layers = 24;
  const auto choice = choose_layers("auto", spec, [](std::int64_t layer) {
    return LayerTrial{layer != 1 ? 1.0 : 0.0, std::fabs(static_cast<double>(layer) - 2.9) + 0.1};
  });
  CHECK(choice.layers == std::vector<std::int64_t>{3});
  CHECK(choice.reason.starts_with("sweep"));
  CHECK(choice.sweep.size() == sweep_candidates(24).size());
  CHECK(sweep_candidates(2).size() >= 1);
  CHECK(best_trial({{0.2, 0.1, 0.9}, {0.6, 0.4, 0.1}, {0.6, 0.3, 0.1}, {0, 0, 0.95}}) == 2);
  const auto none = choose_layers("auto", spec, [](std::int64_t layer) {
    return LayerTrial{0, 0.1 * static_cast<double>(layer), layer == 3 ? 0.2 : 0.1};
  });
  CHECK(none.layers == std::vector<std::int64_t>{3});
  CHECK_THAT(none.reason, Catch::Contains("no layer takes the edit"));
}

TEST_CASE("layers: a late layer is the last of seven eighths that has an MLP") {
  DecoderSpec spec;
  spec.layers = 30;
  spec.layer.resize(30, {.mlp = true});
  CHECK(late_layer("auto", spec).layers == std::vector<std::int64_t>{26});
  CHECK(late_layer("4-5", spec).layers == std::vector<std::int64_t>{4, 5});
  CHECK(late_layer("4-5", spec).reason == "given");
  spec.layer[26].mlp = spec.layer[25].mlp = false;
  CHECK(late_layer("auto", spec).layers == std::vector<std::int64_t>{24});
  CHECK_THROWS_AS(late_layer("26", spec), Error);
  for (auto& layer : spec.layer) layer.mlp = false;
  CHECK_THROWS_AS(late_layer("auto", spec), Error);
}

TEST_CASE("layers: a layer without an MLP is refused with the family's name, given or swept") {
  DecoderSpec spec;
  spec.model_type = "mamba";
  spec.layers = 24;
  spec.layer.resize(24, {.mlp = false, .ssm = true});
  const auto never = [](std::int64_t) -> LayerTrial { throw std::runtime_error("tried"); };
  for (const char* wish : {"auto", "3", "2-5"}) {
    try {
      (void)choose_layers(wish, spec, never);
      FAIL("no error");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kMismatch);
      CHECK_THAT(error.what(), Catch::Contains("model_type mamba"));
    }
  }
}

TEST_CASE("subject: the last token, wherever the subject stands") {
  const Tokenizer tokenizer = Tokenizer::from_json(tiny::tokenizer(), "tiny");
  // "the ab c": the | Ġ | ab | Ġ | c
  const PromptRow row = locate_subject(tokenizer, "{}", "the {} c", "ab");
  REQUIRE(row.ids == std::vector<TokenId>{13, 6, 15, 6, 5});
  CHECK(row.lookup == 2);
  CHECK(locate_subject(tokenizer, "{}", "{} c", "ab").lookup == 0);
  CHECK(locate_subject(tokenizer, "c {}", "{} c", "ab").lookup == 2);
  CHECK(locate_subject(tokenizer, "{}", "the {}", "c b").lookup == 4);
}

TEST_CASE("subject: a token that reaches beyond the subject is refused, and so is a missing slot") {
  const Tokenizer tokenizer = Tokenizer::from_json(tiny::tokenizer(), "tiny");
  const auto kind = [&](const char* context, const char* prompt, const char* subject) {
    try {
      (void)locate_subject(tokenizer, context, prompt, subject);
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::kInternal;
  };
  CHECK(kind("{}", "{}b c", "a") == ErrorKind::kUsage);  // "ab" is one token
  CHECK(kind("{}", "{}he c", "t") == ErrorKind::kUsage);
  CHECK(kind("{}", "the c", "ab") == ErrorKind::kUsage);
  CHECK(kind("c", "{} c", "ab") == ErrorKind::kUsage);
}

TEST_CASE("subject: one blank stands before a target, unless it has one or its script has none") {
  const Tokenizer tokenizer = Tokenizer::from_json(tiny::tokenizer(), "tiny");
  CHECK(target_tokens(tokenizer, "c", "the") == std::vector<TokenId>{16});
  CHECK(target_tokens(tokenizer, "c", " the") == std::vector<TokenId>{16});
  CHECK(target_tokens(tokenizer, "c ", "the") == std::vector<TokenId>{13});
  CHECK(target_separator("法国的首都是", "罗马").empty());
  CHECK(target_separator("The capital is", "Rome") == " ");
  CHECK_THROWS_AS(target_tokens(tokenizer, "c", ""), Error);
}

TEST_CASE("subject: rows end before the last target token and the KL row ends with the subject") {
  const Tokenizer tokenizer = Tokenizer::from_json(tiny::tokenizer(), "tiny");
  Fact fact;
  fact.subject = "ab";
  fact.prompt = "the {} c";
  fact.target = "the b";
  const FactRows rows = fact_rows(tokenizer, fact, {"{}", "c {}"});
  CHECK(rows.target == std::vector<TokenId>{16, 6, 4});
  CHECK(rows.rewriting[0].ids == std::vector<TokenId>{13, 6, 15, 6, 5, 16, 6});
  CHECK(rows.rewriting[1].lookup == rows.rewriting[0].lookup + 1);  // "c" and " the" for "the"
  CHECK(rows.subject_only.ids == std::vector<TokenId>{15});
  CHECK(rows.subject_only.lookup == 0);
}

TEST_CASE("probe: subjects that an editor protects are never asked by the guard") {
  for (const std::string prompt :
       {"The capital of {} is", "{} is a city in the country of", "{} is located in the city of",
        "The mother tongue of {} is", "{} was founded by", "The {} is a type of",
        "{} was invented by", "The opposite of {} is", "The chemical symbol for {} is"}) {
    CAPTURE(prompt);
    Fact fact;
    fact.subject = "Zanzibar";
    fact.prompt = prompt;
    fact.target = "green";
    const auto asked = make_leak_prompts(fact, 1000);
    const auto kept = protected_subjects(fact, 1000);
    CHECK(kept.size() >= 24);
    CHECK(asked.size() >= 12);
    for (const std::string& subject : kept) {
      CHECK(std::find(asked.begin(), asked.end(), fill_template(prompt, subject)) == asked.end());
    }
  }
}

TEST_CASE(
    "leak prompts: same template, other subjects of the same type, invented ones among them") {
  Fact fact;
  fact.subject = "Norway";
  fact.prompt = "The capital of {} is";
  fact.target = "Rome";
  const auto prompts = make_leak_prompts(fact, 12);
  REQUIRE(prompts.size() == 12);
  CHECK(prompts[0] == "The capital of Brazil is");
  int invented = 0;
  for (const std::string& prompt : prompts) {
    CHECK(prompt.find("Norway") == std::string::npos);
    if (prompt.find("Vandoria") != std::string::npos ||
        prompt.find("Kestmoor") != std::string::npos)
      ++invented;
  }
  CHECK(invented == 2);
  CHECK(make_leak_prompts(fact, 12) == prompts);
  fact.subject = "Eiffel Tower";
  fact.prompt = "The {} is located in the city of";
  CHECK(make_leak_prompts(fact, 10).size() == 10);
}
