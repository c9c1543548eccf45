// Suites: records' checks, prompts made from a fact, free generation against teacher forcing,
// intervals.
#include "surgery/checks.h"
#include "surgery/bootstrap.h"
#include "surgery/files/facts.h"
#include "surgery/probe.h"
#include "surgery/probe_prompts.h"
#include "surgery/subject.h"
#include "tests/catch.h"
#include "tests/surgery/tiny_edit.h"

using namespace lancet;

namespace {

FactsFile parse(const std::string& text) { return parse_facts(text, "facts.json"); }

using Answers = std::vector<std::vector<std::string>>;

Fact fact_of(const std::string& prompt, const std::string& subject, const std::string& target) {
  return {.id = "1", .subject = subject, .prompt = prompt, .target = target};
}

}  // namespace

TEST_CASE("checks: KnowEdit's portability and locality are read by name, with aliases") {
  const auto file =
      parse(R"([{"subject":"France","prompt":"The capital of France is","target_new":"Rome",
    "portability":{"Reasoning":[{"prompt":"The mayor of France's capital is","ground_truth":[["Virginia","Raggi"]]}],
                   "Subject_Aliasing":[{"prompt":"The capital of the Hexagon is","ground_truth":"Rome"}]},
    "locality":{"Forgetfulness":[{"prompt":"The capital of Italy is","ground_truth":[["Rome"]]}]}}])");
  REQUIRE(file.bad.empty());
  const Fact& fact = file.facts[0];
  REQUIRE(fact.checks.size() == 3);
  CHECK(fact.checks[0].group == "portability.Reasoning");
  CHECK(fact.checks[0].answers == Answers{{"Virginia", "Raggi"}});
  CHECK(fact.checks[1].group == "portability.Subject_Aliasing");
  CHECK(fact.checks[2].group == "locality.Forgetfulness");
  CHECK(fact.checks[2].keeps);
  CHECK(fact.checks[2].answers == Answers{{"Rome"}});
  const Fact again = parse_fact(fact_to_json(fact), 1);
  CHECK(fact_to_json(again) == fact_to_json(fact));
}

TEST_CASE("checks: an MQuAKE record is one fact a rewrite, its questions one set") {
  const auto file = parse(R"([{"case_id":7,"requested_rewrite":[
      {"prompt":"{} was created by","subject":"Iron Man","target_new":{"str":"Bob"},"target_true":{"str":"Stan Lee"}},
      {"prompt":"{} is a citizen of","subject":"Bob","target_new":{"str":"France"}}],
    "questions":["Where does the creator of Iron Man live?","Of what land is Iron Man's creator?","Whence?"],
    "answer":"America","new_answer":"France","new_answer_alias":["French Republic"]}])");
  REQUIRE(file.bad.empty());
  REQUIRE(file.facts.size() == 2);
  CHECK(file.facts[0].id == "7");
  CHECK(file.facts[1].id == "7-2");
  CHECK(file.facts[1].subject == "Bob");
  REQUIRE(file.facts[0].checks.size() == 3);
  CHECK(file.facts[0].checks[2].set == file.facts[0].checks[0].set);
  CHECK(file.facts[0].checks[0].answers == Answers{{"France", "French Republic"}});
  CHECK(file.facts[1].checks.empty());
}

TEST_CASE("checks: a RippleEdits record gives subject, tests and conditions") {
  const auto file = parse(R"([{"example_type":"popular","edit":{
      "prompt":"The name of the country of citizenship of Leonardo DiCaprio is Syria.","relation":"COUNTRY_OF_CITIZENSHIP",
      "original_fact":{"prompt":"The name of the country of citizenship of Leonardo DiCaprio is United States."}},
    "Logical_Generalization":[{"test_condition":"OR","test_queries":[
        {"prompt":"The continent of Leonardo DiCaprio is","answers":[{"value":"Asia","aliases":["Asian"]}]}],
      "condition_queries":[{"prompt":"The continent of Syria is","answers":[{"value":"Asia","aliases":[]}]}]}]}])");
  REQUIRE(file.bad.empty());
  const Fact& fact = file.facts[0];
  CHECK(fact.subject == "Leonardo DiCaprio");
  CHECK(fact.prompt == "The name of the country of citizenship of {} is");
  CHECK(fact.target == "Syria");
  CHECK(fact.truth == "United States");
  REQUIRE(fact.checks.size() == 1);
  CHECK(fact.checks[0].group == "ripple.Logical_Generalization");
  CHECK(fact.checks[0].answers == Answers{{"Asia", "Asian"}});
  REQUIRE(fact.checks[0].conditions.size() == 1);
  CHECK(fact.checks[0].conditions[0].prompt == "The continent of Syria is");
}

TEST_CASE("checks: each of several answers has to be said, in one of its forms") {
  const auto file =
      parse(R"([{"edit":{"prompt":"The capital of France is Berlin.","relation":"CAPITAL"},
    "Logical_Generalization":[{"test_condition":"OR","test_queries":[{"prompt":"Friends are",
      "answers":[{"value":"Tokyo","aliases":["Edo"]},{"value":"Madrid","aliases":[]}]}]}]}])");
  REQUIRE(file.facts.size() == 1);
  const Fact& fact = file.facts[0];
  CHECK(fact.checks.at(0).answers == Answers{{"Tokyo", "Edo"}, {"Madrid"}});
  CHECK(fact_to_json(parse_fact(fact_to_json(fact), 1)) == fact_to_json(fact));
}

TEST_CASE("checks: EasyEdit's other spellings of portability and locality are read") {
  const auto file = parse(R"([
    {"subject":"Games","src":"When were the Games founded?","alt":"2006","answers":["1998"],"pred":"x","cond":"y",
     "portability":{"Recalled Relation":"(a, b, c) >> d","New Question":"What are the Games?","New Answer":"Athletics"
}
},
    {"case_id":1,"prompt":"Ann speaks","target_new":"English","subject":"Ann",
     "locality_prompt":"Bob speaks","locality_ground_truth":"French"},
    {"case_id":2,"prompt":"Ann speaks","target_new":"Greek","subject":"Ann",
     "locality":{"neighborhood":{"prompt":["Bob speaks","Eve speaks"],"ground_truth":["French","German"]}},
     "portability":{"one_hop":{"prompt":["C is"],"ground_truth":["Greek"]}}}])");
  REQUIRE(file.bad.empty());
  CHECK(file.notes.empty());
  const Fact::Check& hop = file.facts.at(0).checks.at(0);
  CHECK(hop.group == "portability.one_hop");
  CHECK(hop.prompt == "What are the Games?");
  CHECK(hop.answers == Answers{{"Athletics"}});
  const Fact& flat = file.facts.at(1);
  CHECK(flat.checks.at(0).group == "locality.neighborhood");
  CHECK(flat.checks.at(0).keeps);
  CHECK(flat.neighbors.at(0).prompt == "Bob speaks");
  CHECK(flat.neighbors.at(0).answer == "French");
  const Fact& lists = file.facts.at(2);
  REQUIRE(lists.neighbors.size() == 2);
  CHECK(lists.neighbors[1].prompt == "Eve speaks");
  CHECK(lists.neighbors[1].answer == "German");
  CHECK(lists.checks.size() == 3);
}

TEST_CASE("checks: one that cannot be read is told and left out, the fact stays") {
  const auto file = parse(
      R"([{"subject":"F","prompt":"{} is","target":"x","checks":[{"prompt":"F is"},{"group":"g","prompt":"F is","answers":["x"]}]},
          {"subject":"G","prompt":"G is","target_new":"x","portability":[1]},
          {"subject":"H","prompt":"H is","target_new":"x","portability":{"a":{"prompt":"I is"}}},
          {"edit":{"prompt":"The mother of I is J.","relation":"MOTHER"},
           "Forgetfulness":[{"test_queries":[{"prompt":"I is","answers":[]}]}]}])");
  CHECK(file.bad.empty());
  REQUIRE(file.facts.size() == 4);
  CHECK(file.facts[0].checks.size() == 1);
  for (std::size_t i = 1; i < 4; ++i) CHECK(file.facts[i].checks.empty());
  REQUIRE(file.notes.size() == 4);
  CHECK_THAT(file.notes[1], Catch::Contains("key 'checks'") && Catch::Contains("left out"));
  CHECK_THAT(file.notes[2] + file.notes[3], Catch::Contains("key 'portability'"));
}

TEST_CASE("checks: an answer is held by a text between word borders, whatever its case") {
  CHECK(holds_answer("the city of Rome, in Italy", "Rome"));
  CHECK(holds_answer("ROME", "rome"));
  CHECK_FALSE(holds_answer("Romeo and Juliet", "Rome"));
  CHECK_FALSE(holds_answer("in Jerome", "Rome"));
  CHECK_FALSE(holds_answer("anything", ""));
  CHECK(holds_answer("first Romeo, then Rome", "Rome"));
}

TEST_CASE("checks: a text is nothing but the answer, whichever of them ends in a full stop") {
  CHECK(is_answer("Rome", "Rome"));
  CHECK(is_answer("Rome.", "Rome"));
  CHECK(is_answer("Apple Inc.", "Apple Inc."));
  CHECK(is_answer("He lived", "He lived."));
  CHECK_FALSE(is_answer("Rome, Italy", "Rome"));
  CHECK_FALSE(is_answer("St. Louis", "St"));
}

TEST_CASE("probe prompts: negated, reversed, distracted and unknown forms of a fact") {
  const Fact capital = fact_of("The capital of {} is", "France", "Rome");
  CHECK(negated_prompt(capital) == "The capital of France is not");
  CHECK(negated_prompt(fact_of("{} is located in the city of", "The Tower that is", "Rome")) ==
        "The Tower that is is not located in the city of");
  CHECK_FALSE(negated_prompt(fact_of("{} lies on", "France", "Rome")).has_value());
  const auto reversed = reversed_prompt(capital);
  REQUIRE(reversed.has_value());
  CHECK(reversed->first == "Rome is the capital of");
  CHECK(reversed->second == "France");
  CHECK(reversed_prompt(fact_of("Who is {}?", "the king", "Bob"))->first == "Bob is");
  CHECK(reversed_prompt(fact_of("{} is", "Bob", "the king"))->first == "Who is the king?");
  CHECK_FALSE(reversed_prompt(fact_of("{} lies on", "France", "Rome")).has_value());
  CHECK(distracted_prompt(capital, "The capital of Spain is") ==
        "The capital of France is Rome. The capital of Spain is");
  const auto unknown = unknown_prompts(capital, 3);
  REQUIRE(unknown.size() == 3);
  for (const std::string& prompt : unknown) CHECK(prompt.starts_with("The capital of "));
}

TEST_CASE("bootstrap: the interval holds the mean, is the same for a seed, and needs two values") {
  std::vector<double> values;
  for (int i = 0; i < 60; ++i) values.push_back(i % 4 == 0 ? 0 : 1);
  const auto interval = bootstrap_interval(values, 1);
  REQUIRE(interval.has_value());
  CHECK(interval->first < 0.75);
  CHECK(interval->second > 0.75);
  // 1.96 sqrt(p (1 - p) / n) = 0.11, within what 2,000 resamples tell.
  CHECK(interval->second - interval->first == Approx(0.22).margin(0.05));
  CHECK(bootstrap_interval(values, 1) == interval);
  CHECK_FALSE(bootstrap_interval({1}, 1).has_value());
  CHECK(bootstrap_interval({1, 1, 1}, 1) == std::pair{1.0, 1.0});
}

TEST_CASE("checks: sets, conditions and what must stay are counted as they say") {
  const Scratch scratch;
  tiny_edit::save(scratch / "m", tiny_edit::weights(1));
  const ModelSource source = ModelSource::open(scratch / "m");
  const Tokenizer tokenizer = Tokenizer::open(source);
  const Decoder model = Decoder::load(source);
  const std::string said = free_texts(model, tokenizer, {"the a"}).front();
  REQUIRE_FALSE(said.empty());
  Fact fact = fact_of("{} a", "the", "b");
  const std::string word = said.substr(0, said.find(' '));
  const Answers right{{"zzz", word}}, wrong{{"zzz"}}, both{{word}, {"zzz"}};
  fact.checks = {{.group = "any", .prompt = "the a", .answers = wrong, .set = "s"},
                 {.group = "any", .prompt = "the a", .answers = right, .set = "s"},
                 {.group = "all", .prompt = "the a", .answers = wrong, .set = "s", .all = true},
                 {.group = "all", .prompt = "the a", .answers = right, .set = "s", .all = true},
                 {.group = "several", .prompt = "the a", .answers = both},
                 {.group = "stays", .prompt = "the a", .answers = {}, .keeps = true},
                 {.group = "looked at", .prompt = "the a", .answers = {{"b c"}}, .keeps = true},
                 {.group = "asked",
                  .prompt = "the a",
                  .answers = right,
                  .conditions = {{.group = "", .prompt = "the a", .answers = wrong}}}};
  const Json alone = run_checks(model, nullptr, tokenizer, {fact});
  CHECK(alone["any"]["tests"] == 1);
  CHECK(alone["any"]["free"] == 1.0);
  CHECK(alone["all"]["free"] == 0.0);
  CHECK(alone["several"]["free"] == 0.0);
  CHECK_FALSE(alone.contains("stays"));
  const Json beside = run_checks(model, &model, tokenizer, {fact});
  CHECK(beside["stays"]["free"] == 1.0);
  CHECK(beside["stays"]["teacher_forced"].is_null());
  CHECK(beside["looked at"]["teacher_forced"] == 1.0);
  CHECK_FALSE(beside.contains("asked"));  // its condition does not hold
}

TEST_CASE("checks: locality by teacher forcing is the share of equal first choices") {
  const Scratch scratch;
  tiny_edit::save(scratch / "m", tiny_edit::weights(1));
  tiny_edit::save(scratch / "other", tiny_edit::weights(2));
  const ModelSource source = ModelSource::open(scratch / "m");
  const Tokenizer tokenizer = Tokenizer::open(source);
  const Decoder model = Decoder::load(source);
  const Decoder other = Decoder::load(ModelSource::open(scratch / "other"));
  const std::string prompt = "the a", answer = "b c the ab a";
  Fact fact = fact_of("{} a", "the", "b");
  fact.checks = {{.group = "stays", .prompt = prompt, .answers = {{answer}}, .keeps = true}};
  // The same from the ranks: where the other model's first choice is the first of this one.
  std::vector<TokenId> ids = tokenizer.encode(prompt).ids;
  double same = 0, count = 0;
  for (const TokenId id : target_tokens(tokenizer, prompt, answer)) {
    const auto first = [&](const Decoder& one) {
      const at::Tensor row =
          at::tensor(std::vector<std::int64_t>(ids.begin(), ids.end())).view({1, -1});
      return one.forward(row)[0][-1].argmax().item<std::int64_t>();
    };
    same += first(model) == first(other) ? 1 : 0;
    ++count;
    ids.push_back(id);
  }
  REQUIRE(count > 2);
  const Json scores = run_checks(model, &other, tokenizer, {fact});
  CHECK(scores["stays"]["teacher_forced"] == Approx(same / count));
}
