// Checks of the known kinds of records (facts.h):
//   KnowEdit, EasyEdit  portability / locality {name: {prompt, ground_truth}} or {name: [{...}]};
//                       ground_truth may be a text, a list of aliases, or a list of such lists
//   MQuAKE              questions (three ways to ask one thing), new_answer, new_answer_alias
//   RippleEdits         Logical_Generalization, Subject_Aliasing, Compositionality_I, _II: lists of
//                       tests, each with test_queries [{prompt | phrase, answers [{value,
//                       aliases}]}] of which one (OR) is enough; Relation_Specifity and
//                       Forgetfulness stay
//   ours                checks [{group, prompt, answers, set}]
#include <array>

#include <fmt/format.h>

#include "core/error.h"
#include "surgery/files/facts.h"

namespace lancet {
namespace {

[[noreturn]] void bad(std::string_view key, std::string_view expected, std::string_view found) {
  fail(ErrorKind::kUsage, "facts",
       fmt::format("key '{}': expected {}, found {}", key, expected, found));
}

const Json* find(const Json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

/// Every text in nested lists, blanks before it left out.
void gather(const Json& value, std::vector<std::string>& out) {
  if (value.is_string()) {
    std::string text = value.get<std::string>();
    if (text.starts_with(' ')) text.erase(0, 1);
    if (!text.empty()) out.push_back(std::move(text));
  }
  if (!value.is_array()) return;
  for (const Json& item : value) gather(item, out);
}

std::vector<std::string> texts(const Json& object, std::initializer_list<const char*> keys) {
  std::vector<std::string> out;
  for (const char* key : keys) {
    if (const Json* value = find(object, key)) gather(*value, out);
  }
  return out;
}

std::string prompt_of(const Json& object, std::string_view where) {
  for (const char* key : {"prompt", "phrase", "question"}) {
    const Json* value = find(object, key);
    if (value != nullptr && value->is_string()) return value->get<std::string>();
  }
  bad(where, "objects with 'prompt'", object.type_name());
}

Json list_of(const Json& value) { return value.is_array() ? value : Json::array({value}); }

/// {name: {prompt, ground_truth}} and {name: [{...}]}; prompts of which one entry has several are a
/// check each.
void add_named(const Json& record, const char* key, bool keeps, std::vector<Fact::Check>& out) {
  const Json* groups = find(record, key);
  if (groups == nullptr) return;
  if (!groups->is_object()) bad(key, "an object", groups->type_name());
  for (const auto& [name, entries] : groups->items()) {
    for (const Json& entry : list_of(entries)) {
      if (!entry.is_object()) bad(key, "objects with 'prompt'", entry.type_name());
      const Json* prompts = find(entry, "prompt");
      if (prompts != nullptr && prompts->is_array()) {
        const Json* answers = find(entry, "ground_truth");
        for (std::size_t i = 0; i < prompts->size(); ++i) {
          if (!(*prompts)[i].is_string()) bad(key, "texts in 'prompt'", (*prompts)[i].type_name());
          std::vector<std::string> right;
          if (!keeps && answers != nullptr && answers->is_array() && i < answers->size())
            gather((*answers)[i], right);
          out.push_back({.group = fmt::format("{}.{}", key, name),
                         .prompt = (*prompts)[i].get<std::string>(),
                         .answers = std::move(right)});
        }
        continue;
      }
      out.push_back({.group = fmt::format("{}.{}", key, name),
                     .prompt = prompt_of(entry, key),
                     .answers = keeps ? std::vector<std::string>{}
                                      : texts(entry, {"ground_truth", "target", "answer"})});
    }
  }
}

void add_hops(const Json& record, std::vector<Fact::Check>& out) {
  const Json* questions = find(record, "questions");
  if (questions == nullptr || find(record, "new_answer") == nullptr) return;
  const std::vector<std::string> answers = texts(record, {"new_answer", "new_answer_alias"});
  for (const Json& question : list_of(*questions)) {
    if (!question.is_string()) bad("questions", "texts", question.type_name());
    out.push_back({.group = "multi_hop",
                   .prompt = question.get<std::string>(),
                   .answers = answers,
                   .set = "questions"});
  }
}

Fact::Check ripple_query(const Json& query, const char* kind) {
  Fact::Check out{.group = fmt::format("ripple.{}", kind), .prompt = prompt_of(query, kind)};
  for (const Json& answer : list_of(query.value("answers", Json::array()))) {
    const auto more = texts(answer, {"value", "aliases"});
    out.answers.insert(out.answers.end(), more.begin(), more.end());
    gather(answer, out.answers);
  }
  return out;
}

void add_ripples(const Json& record, std::vector<Fact::Check>& out) {
  constexpr std::array kKinds{"Logical_Generalization", "Subject_Aliasing",   "Compositionality_I",
                              "Compositionality_II",    "Relation_Specifity", "Forgetfulness"};
  if (find(record, "edit") == nullptr) return;
  for (const char* kind : kKinds) {
    const Json* tests = find(record, kind);
    if (tests == nullptr) continue;
    for (std::size_t t = 0; t < list_of(*tests).size(); ++t) {
      const Json test = list_of(*tests)[t];
      const Json* queries = find(test, "test_queries");
      if (queries == nullptr) bad(kind, "tests with 'test_queries'", test.type_name());
      const Json* condition = find(test, "test_condition");
      const bool all = condition != nullptr && *condition == "AND";
      std::vector<Fact::Check> conditions;
      if (const Json* asked = find(test, "condition_queries")) {
        for (const Json& query : list_of(*asked)) conditions.push_back(ripple_query(query, kind));
      }
      for (const Json& query : list_of(*queries)) {
        out.push_back(ripple_query(query, kind));
        out.back().set = fmt::format("{}-{}", kind, t);
        out.back().all = all;
        out.back().conditions = conditions;
      }
    }
  }
}

}  // namespace

std::vector<Fact::Check> read_checks(const Json& record) {
  std::vector<Fact::Check> out;
  add_named(record, "portability", false, out);
  add_named(record, "locality", true, out);
  add_hops(record, out);
  add_ripples(record, out);
  const Json* own = find(record, "checks");
  if (own == nullptr) return out;
  if (!own->is_array()) bad("checks", "a list", own->type_name());
  for (const Json& entry : *own) {
    const auto group = texts(entry, {"group"}), set = texts(entry, {"set"});
    if (group.empty()) bad("checks", "objects with 'group' and 'prompt'", entry.type_name());
    out.push_back({.group = group.front(),
                   .prompt = prompt_of(entry, "checks"),
                   .answers = texts(entry, {"answers"}),
                   .set = set.empty() ? "" : set.front(),
                   .all = json_bool(entry, "all", "checks", false)});
    if (const Json* conditions = find(entry, "conditions")) {
      for (const Json& condition : list_of(*conditions)) {
        out.back().conditions.push_back({.group = "condition",
                                         .prompt = prompt_of(condition, "conditions"),
                                         .answers = texts(condition, {"answers"})});
      }
    }
  }
  return out;
}

}  // namespace lancet
