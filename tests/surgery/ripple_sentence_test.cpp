#include "core/error.h"
#include "surgery/files/facts.h"
#include "tests/catch.h"

using namespace lancet;

namespace {

FactsFile parse(const std::string& relation, const std::string& sentence,
                const std::string& before = "") {
  const Json record{{"edit",
                     {{"prompt", sentence},
                      {"relation", relation},
                      {"original_fact", {{"prompt", before}, {"relation", relation}}}}}};
  return parse_facts(dump_json(record), "facts.json");
}

}  // namespace

TEST_CASE("ripples: the subject is found in every published phrasing") {
  struct Case {
    const char *relation, *prompt, *subject, *target;
  };
  constexpr Case kCases[] = {
      {"MOTHER", "The name of the mother of {} is", "Leo Arons", "Ann"},
      {"PLACE_OF_BURIAL", "The place of burial of {} is", "Leo Arons", "Berlin"},
      {"COUNTRY_OF_CITIZENSHIP", "The name of the country of citizenship of {} is", "Duke of York",
       "Syria"},
      {"HEAD_OF_STATE", "The name of the head of state of {} is", "France", "Bob"},
      {"SIBLING", "The names of the siblings of {} are", "Janice Gaines", "Ruby Gaines"},
      {"CAST_MEMBER", "The names of the cast members of {} are", "The Birds are Coming", "Bob"},
      {"NUMBER_OF_CHILDREN", "The number of children {} has is", "Bob", "3"},
      {"SEX_OR_GENDER", "The gender of {} is", "Kate Winslet", "male"},
      {"COUNTRY", "The name of the country which {} is associated with is", "Eiffel Tower",
       "Italy"},
      {"ETHNIC_GROUP", "The name of the ethnic group which {} is associated with is", "Bob",
       "Basques"},
      {"RELIGION", "The name of the religion which {} is associated with is", "Bob", "Jainism"},
      {"POSITION_HELD", "The name of the position held by {} is", "Leo Arons", "mayor"},
      {"MEMBER_OF_SPORTS_TEAM", "The name of the sports team which {} is a member of is",
       "Lionel Messi", "Arsenal"},
      {"LEAGUE", "The name of the league which {} plays in is", "Chelsea", "Serie A"},
      {"NATIVE_LANGUAGE", "The mother tongue of {} is", "Leo Arons", "English"},
      {"AWARD_RECEIVED", "The name of the award {} won is", "Leo Arons", "Oscar"},
      {"FOLLOWS", "{} follows", "Frozen", "Bambi"},
      {"FOLLOWED_BY", "{} is followed by", "Frozen", "Bambi"},
      {"IS_ALIVE", "Is {} still alive?", "Leo Arons", "no"},
      {"CONTINENT", "The name of the continent which {} is part of is", "France", "Asia"},
      {"CAPITAL", "The name of the capital city of {} is", "France", "Rome"},
      {"CAPITAL", "The capital of {} is", "France", "Rome"},  // in other words than published
      {"CURRENCY", "The name of the currency in {} is", "Japan", "euro"},
      {"LIKELY_ANTHEM", "The name of the anthem that is most likely to be performed in {} is",
       "Paris", "Amhrán"},
      {"CAPITAL_OF", "The name of the country which {} is the capital of is", "Paris", "Peru"},
  };
  for (const Case& each : kCases) {
    INFO(each.relation);
    std::string asked = each.prompt;
    asked.replace(asked.find("{}"), 2, each.subject);
    const auto file =
        parse(each.relation, asked + " " + each.target + ".", asked + " something else.");
    REQUIRE(file.bad.empty());
    CHECK(file.notes.empty());
    CHECK(file.facts[0].prompt == each.prompt);
    CHECK(file.facts[0].subject == each.subject);
    CHECK(file.facts[0].target == each.target);
    CHECK(file.facts[0].truth == "something else");
  }
}

TEST_CASE(
    "ripples: a subject or a target with the sentence's own verb is cut where both facts are") {
  const std::string khan = "The name of the director of My Name is Khan is ";
  const auto subject = parse("DIRECTOR", khan + "Bob.", khan + "Karan Johar.").facts.at(0);
  CHECK(subject.subject == "My Name is Khan");
  CHECK(subject.target == "Bob");
  const std::string work = "The name of the author of Emma is ";
  const auto target = parse("AUTHOR", work + "One Who is Free.", work + "Jane Austen.").facts.at(0);
  CHECK(target.subject == "Emma");
  CHECK(target.target == "One Who is Free");
  CHECK(target.truth == "Jane Austen");
}

TEST_CASE("ripples: one full stop ends the sentence, another is the target's") {
  const std::string asked = "The name of the employer of Ann is ";
  CHECK(parse("EMPLOYER", asked + "Apple Inc..").facts.at(0).target == "Apple Inc.");
  CHECK(parse("EMPLOYER", asked + "Apple").facts.at(0).target == "Apple");
}

TEST_CASE("ripples: a sentence in other words is named, unless its subject is told") {
  const auto file = parse("COUNTRY", "Where the Eiffel Tower stands is Italy.");
  REQUIRE(file.bad.size() == 1);
  CHECK(file.bad[0].key == "edit.prompt");
  const auto told = parse_facts(
      R"({"edit":{"prompt":"Where the Eiffel Tower stands is Italy.","subject":"Eiffel Tower"}})",
      "facts.json");
  REQUIRE(told.bad.empty());
  CHECK(told.facts[0].prompt == "Where the {} stands is");
  CHECK(told.facts[0].target == "Italy");
}
