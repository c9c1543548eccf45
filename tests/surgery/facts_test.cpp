#include "surgery/files/facts.h"

#include "core/error.h"
#include "tests/catch.h"

using namespace lancet;

namespace {
FactsFile parse(const std::string& text) { return parse_facts(text, "facts.json"); }
}  // namespace

TEST_CASE("facts: our own record keeps every key") {
  const auto file = parse(
      R"({"id":"f1","subject":"France","prompt":"The capital of {} is","target":" Rome","true":"Paris",
    "paraphrases":["In France, the capital is"],"neighbors":[{"prompt":"The capital of Spain is","answer":"Madrid"},"The capital of Peru is"],
    "generation":["France is"],"leak":["The capital of Chile is"],"unrelated":["The oak is a"],"lang":"en"})");
  REQUIRE(file.bad.empty());
  REQUIRE(file.facts.size() == 1);
  const Fact& fact = file.facts[0];
  CHECK(fact.id == "f1");
  CHECK(fact.target == "Rome");
  CHECK(fact.truth == "Paris");
  CHECK(fact.neighbors[0].answer == "Madrid");
  CHECK_FALSE(fact.neighbors[1].answer.has_value());
  CHECK(fact.lang == "en");
  const Fact again = parse_fact(fact_to_json(fact), 1);
  CHECK(fact_to_json(again) == fact_to_json(fact));
}

TEST_CASE("facts: a CounterFact record is recognised, neighbours get the true answer") {
  const auto file = parse(
      R"([{"case_id":7,"requested_rewrite":{"prompt":"The mother tongue of {} is","relation_id":"P103",
    "target_new":{"str":"English","id":"Q1860"},"target_true":{"str":"French","id":"Q150"},"subject":"Danielle Darrieux"},
    "paraphrase_prompts":["Danielle Darrieux, a native"],"neighborhood_prompts":["The mother tongue of Léon Blum is"],
    "attribute_prompts":[],"generation_prompts":["Danielle Darrieux was born in"],
    "leak_prompts":["The oak is a type of"],"leak_same_relation_prompts":["The mother tongue of Goethe is"]}])");
  REQUIRE(file.facts.size() == 1);
  const Fact& fact = file.facts[0];
  CHECK(fact.id == "7");
  CHECK(fact.relation == "P103");
  CHECK(fact.target_id == "Q1860");
  CHECK(fact_to_json(parse_fact(fact_to_json(fact), 1)) == fact_to_json(fact));
  CHECK(fact.target == "English");
  CHECK(fact.neighbors.at(0).answer == "French");
  CHECK(fact.leak.size() == 1);
  CHECK(fact.unrelated.size() == 1);
}

TEST_CASE("facts: zsRE, EasyEdit, KnowEdit and WikiBio records are recognised") {
  const auto zsre =
      parse(
          R"({"subject":"Watts Humphrey","src":"What university did Watts Humphrey attend?","alt":"University of Michigan",
    "answers":["Trinity College"],"rephrase":"What university did Watts Humphrey take part in?",
    "loc":"nq question: who played desmond doss father in hacksaw ridge","loc_ans":"Hugo Weaving"})")
          .facts.at(0);
  CHECK(zsre.prompt == "What university did {} attend?");
  CHECK(zsre.target == "University of Michigan");
  CHECK(zsre.truth == "Trinity College");
  CHECK(zsre.neighbors.at(0).prompt == "who played desmond doss father in hacksaw ridge?");
  const auto easy =
      parse(
          R"({"prompt":"Ray Charles, the","subject":"Ray Charles","target_new":"violin","ground_truth":"piano",
    "rephrase_prompt":"Ray Charles plays the","locality":{"neighborhood":{"prompt":"Joseph Fischhof, the","ground_truth":"piano"}}})")
          .facts.at(0);
  CHECK(easy.prompt == "{}, the");
  CHECK(easy.paraphrases == std::vector<std::string>{"Ray Charles plays the"});
  CHECK(easy.neighbors.at(0).answer == "piano");
  const auto know =
      parse(
          R"({"subject":"Leo Arons","prompt":"The place of death of Leo Arons is","target_new":"Berlin","ground_truth":[["Munich"]],
    "portability":{},"locality":{"Relation_Specificity":[{"prompt":"The name of the father of Leo Arons is","ground_truth":[["Albert Arons"]]}]}})")
          .facts.at(0);
  CHECK(know.truth == "Munich");
  CHECK(know.neighbors.at(0).answer == "Albert Arons");
  const auto bio =
      parse(
          R"({"concept":"John Russell","text":"This is about John Russell.","labels":"He lived."})")
          .facts.at(0);
  CHECK(bio.prompt == "This is about {}.");
}

TEST_CASE("facts: a bad record is named by line and key, the others are kept") {
  const auto lines = parse(
      "{\"subject\":\"A\",\"prompt\":\"{} "
      "is\",\"target\":\"x\"}\n\n{\"subject\":\"B\",\"prompt\":\"{} is\"}\n"
      "{\"subject\":\"C\",\"prompt\":\"{} is\",\"target\":\"y\"}\nnot json\n");
  REQUIRE(lines.facts.size() == 2);
  CHECK(lines.facts[1].id == "3");
  REQUIRE(lines.bad.size() == 2);
  CHECK(lines.bad[0].line == 3);
  CHECK(lines.bad[0].key == "target");
  CHECK(lines.bad[1].line == 5);
  const auto array = parse(
      "[\n {\"subject\":\"A\",\"prompt\":\"{} is\",\"target\":\"x\"},\n "
      "{\"subject\":3,\"prompt\":\"{}\",\"target\":\"x\"},\n"
      " {\"subject\":\"D \\\"]\\\" d\",\"prompt\":\"{} is\",\"target\":\"z\"}\n]");
  CHECK(array.facts.size() == 2);
  REQUIRE(array.bad.size() == 1);
  CHECK(array.bad[0].record == 2);
  CHECK(array.bad[0].line == 3);
  CHECK(array.bad[0].key == "subject");
  CHECK_THAT(array.bad[0].message, Catch::Contains("number"));
  const auto cut = parse(
      "{\"subject\":\"A\",\"prompt\":\"{} is\",\"target\":\"x\"}\n{\"subject\":\n{\"a\":tru}\n");
  REQUIRE(!cut.bad.empty());
  CHECK_THAT(cut.bad.back().message, Catch::Contains("facts.json:3:"));
}

TEST_CASE("facts: prompts without {}, with two, empty subjects and targets are refused") {
  const auto bad = [](const std::string& record) {
    const auto file = parse(record);
    REQUIRE(file.bad.size() == 1);
    return file.bad[0].key;
  };
  CHECK(bad(R"({"subject":"A","prompt":"A is","target":"x"})") == "prompt");
  CHECK(bad(R"({"subject":"A","prompt":"{} and {}","target":"x"})") == "prompt");
  CHECK(bad(R"({"subject":" ","prompt":"{} is","target":"x"})") == "subject");
  CHECK(bad(R"({"subject":"A","prompt":"{} is","target":" "})") == "target");
  CHECK(bad(R"({"subject":"A","src":"What is B?","alt":"x"})") == "src");
}

TEST_CASE("facts: an empty, cut or doubled file is an input error") {
  for (const char* text : {"", "  \n", "[", "[{\"a\":1}", "[]", "[{}] x"}) {
    CAPTURE(text);
    try {
      (void)parse(text);
      FAIL("accepted");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kInput);
    }
  }
  CHECK_THROWS_AS(read_facts("/nonexistent/facts.json"), Error);
}

TEST_CASE("facts: one object written over several lines is one record") {
  const auto file =
      parse("{\n \"subject\": \"A\",\n \"prompt\": \"{} is\",\n \"target\": \"x\"\n}\n");
  CHECK(file.bad.empty());
  CHECK(file.facts.size() == 1);
}

TEST_CASE("facts: the file of known facts reads whole") {
  const char* set = std::getenv("LANCET_TEST_DATA");
  const auto file =
      read_facts(fs::path(set != nullptr ? set : LANCET_TEST_DATA) / "facts" / "facts.json");
  CHECK(file.bad.empty());
  REQUIRE(file.facts.size() >= 20);
  for (const Fact& fact : file.facts) {
    CAPTURE(fact.id);
    CHECK(fact.truth.has_value());
    CHECK(fact.paraphrases.size() >= 2);
    CHECK(fact.neighbors.size() >= 5);
  }
}

TEST_CASE("facts: duplicates, contradictions and targets that are true already are named by line") {
  const auto line = [](const std::string& id, const std::string& subject,
                       const std::string& target) {
    return R"({"id":")" + id + R"(","subject":")" + subject +
           R"(","prompt":"The capital of {} is","true":"Paris","target":")" + target + "\"}\n";
  };
  const auto check = [](const std::string& text, bool last_wins) {
    FactsFile file = parse(text);
    check_together(file, last_wins, "facts.json");
    return file;
  };
  const FactsFile fine = check(line("1", "France", "Rome") + line("2", "Peru", "Rome"), false);
  CHECK(fine.facts.size() == 2);
  CHECK(fine.bad.empty());
  CHECK_THROWS_WITH(check(line("1", "France", "Rome") + line("1", "Peru", "Rome"), false),
                    Catch::Contains("lines 1 and 2") && Catch::Contains("found '1' twice"));
  const std::string against =
      line("1", "France", "Rome") + line("2", "Peru", "Oslo") + line("3", "France", "Oslo");
  CHECK_THROWS_WITH(check(against, false),
                    Catch::Contains("lines 1 and 3") && Catch::Contains("'Rome' and 'Oslo'"));
  const FactsFile last = check(against, true);
  REQUIRE(last.facts.size() == 2);
  CHECK(last.facts[1].target == "Oslo");
  CHECK(last.lines == std::vector<std::size_t>{2, 3});
  REQUIRE(last.bad.size() == 1);
  CHECK(last.bad[0].line == 1);
  // One id for both: the later one stands in for the earlier.
  CHECK(check(line("1", "France", "Rome") + line("1", "France", "Oslo"), true).facts.size() == 1);
  const FactsFile twice = check(line("1", "France", "Rome") + line("2", "France", "Rome"), false);
  CHECK(twice.facts.size() == 1);
  CHECK(twice.bad[0].line == 2);
  const FactsFile true_already =
      check(line("1", "France", "Paris") + line("2", "Peru", "Rome"), false);
  CHECK(true_already.facts.size() == 1);
  CHECK(true_already.bad[0].key == "target");
}

TEST_CASE("facts: {} in prompts beside the fact's own stands for the subject, and not in leak") {
  const auto file = parse(
      R"({"subject":"France","prompt":"The capital of {} is","target":"Rome","paraphrases":["In {}, {}'s capital is"],
    "neighbors":[{"prompt":"{} lies in","answer":"Europe"}],"generation":["{} is"],"unrelated":["The king of {} is"],
    "checks":[{"group":"g","prompt":"Go to {} and see","answers":["Rome"],"conditions":[{"prompt":"Is {}","answers":["x"]}]}]})");
  REQUIRE(file.facts.size() == 1);
  const Fact& fact = file.facts[0];
  CHECK(fact.paraphrases.at(0) == "In France, France's capital is");
  CHECK(fact.neighbors.at(0).prompt == "France lies in");
  CHECK(fact.generation.at(0) == "France is");
  CHECK(fact.unrelated.at(0) == "The king of France is");
  CHECK(fact.checks.at(0).prompt == "Go to France and see");
  CHECK(fact.checks.at(0).conditions.at(0).prompt == "Is France");
  const auto leak = parse(
      R"({"subject":"France","prompt":"The capital of {} is","target":"Rome","leak":["The capital of {} is"]})");
  REQUIRE(leak.bad.size() == 1);
  CHECK(leak.bad[0].key == "leak");
}

TEST_CASE("facts: an id that was made up gives way to one that was given") {
  const auto file = parse(
      "{\"id\":\"1\",\"subject\":\"A\",\"prompt\":\"{} is\",\"target\":\"x\"}\n"
      "{\"subject\":\"B\",\"prompt\":\"{} is\",\"target\":\"x\"}\n"
      "{\"id\":2,\"subject\":\"C\",\"prompt\":\"{} is\",\"target\":\"x\"}\n");
  REQUIRE(file.facts.size() == 3);
  CHECK(file.facts[0].id == "1");
  CHECK(file.facts[1].id == "2#2");
  CHECK(file.facts[2].id == "2");
}

TEST_CASE("facts: a key of our own records that nothing reads is told once, with the nearest") {
  const std::string record =
      "{\"subject\":\"A\",\"prompt\":\"{} is\",\"target\":\"x\",\"neighbours\":[\"B is\"]}\n";
  const auto file = parse("\n" + record + record);
  CHECK(file.facts.size() == 2);
  REQUIRE(file.notes.size() == 1);
  CHECK_THAT(file.notes[0],
             Catch::Contains("line 2 and 1 more") && Catch::Contains("did you mean 'neighbors'"));
  const auto other =
      parse(R"({"subject":"A","prompt":"A is","target_new":"x","rephrase_prompts":"y"})");
  REQUIRE(other.notes.size() == 1);
  CHECK_THAT(other.notes[0], Catch::Contains("did you mean 'rephrase_prompt'"));
  // Published with CounterFact, of no use here.
  CHECK(
      parse(
          R"({"requested_rewrite":{"subject":"A","prompt":"{} is","target_new":"x"},"pararel_idx":1,
    "attribute_prompts":["B is"]})")
          .notes.empty());
}

TEST_CASE("facts: without {} the subject is a word of its own before it is a part of one") {
  const auto prompt = [](const std::string& subject, const std::string& source) {
    return parse(R"({"alt":"x","subject":")" + subject + R"(","src":")" + source + "\"}")
        .facts.at(0)
        .prompt;
  };
  CHECK(prompt("Ann", "Which Annual award did Ann get?") == "Which Annual award did {} get?");
  CHECK(prompt("US", "USA Today is published in which country, US or Canada?") ==
        "USA Today is published in which country, {} or Canada?");
  CHECK(prompt("Paris", "Which country is Paris in, where Paris is a city?") ==
        "Which country is {} in, where Paris is a city?");
  CHECK(prompt("東京", "首都は東京です") == "首都は{}です");
  CHECK(prompt("Fran", "Where is France?") == "Where is {}ce?");
}

TEST_CASE("facts: one question with two targets is seen wherever its subject ends") {
  const std::string two =
      R"({"id":"p","subject":"France","prompt":"The capital of {} is","target":"Rome"})"
      "\n"
      R"({"id":"q","subject":"capital of France","prompt":"The {} is ","target":"Oslo"})";
  FactsFile file = parse(two);
  CHECK_THROWS_WITH(check_together(file, false, "facts.json"),
                    Catch::Contains("lines 1 and 2") && Catch::Contains("'p' and 'q'") &&
                        Catch::Contains("'The capital of France is'"));
  file = parse(two);
  check_together(file, true, "facts.json");
  REQUIRE(file.facts.size() == 1);
  CHECK(file.facts[0].id == "q");
  // One answer written to two subjects contradicts nothing.
  file = parse(
      R"([{"id":"p","subject":"France","prompt":"The capital of {} is","target":"Rome"},
          {"id":"q","subject":"capital of France","prompt":"The {} is","target":"Rome"}])");
  check_together(file, false, "facts.json");
  CHECK(file.facts.size() == 2);
}

TEST_CASE("facts: blanks at the end of prompts are dropped") {
  const Fact fact =
      parse(
          R"({"subject":"A","prompt":"{} is  ","target":"x","paraphrases":["A was "],"neighbors":["B is "],
    "leak":["C is "],"checks":[{"group":"g","prompt":"D is ","answers":["x"]}]})")
          .facts.at(0);
  CHECK(fact.prompt == "{} is");
  CHECK(fact.paraphrases[0] == "A was");
  CHECK(fact.neighbors[0].prompt == "B is");
  CHECK(fact.leak[0] == "C is");
  CHECK(fact.checks[0].prompt == "D is");
}
