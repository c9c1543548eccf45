// Checks of the known kinds of records (facts.h):
//   KnowEdit, EasyEdit  portability / locality {name: {prompt, ground_truth}} or {name: [{...}]};
//                       ground_truth may be a text, a list of aliases, or a list of such lists;
//                       prompt and ground_truth may be lists of the same length. Flat:
//                       locality_prompt, locality_ground_truth; portability {New Question, New
//                       Answer}
//   MQuAKE              questions (three ways to ask one thing), new_answer, new_answer_alias
//   RippleEdits         Logical_Generalization, Subject_Aliasing, Compositionality_I, _II,
//                       Relation_Specifity, Forgetfulness: lists of tests, each with test_queries
//                       [{prompt | phrase, answers [{value, aliases}]}], of which one (OR) or all
//                       (AND) have to hold. A query holds when each of its answers is said, by its
//                       value or an alias, as in the published queryexecutor.py.
//   ours                checks [{group, prompt, answers, keeps, set, all, conditions}]
#include <array>
#include <functional>

#include <fmt/format.h>

#include "core/error.h"
#include "surgery/files/facts.h"
#include "surgery/files/record_json.h"

namespace lancet {
namespace {

using Answers = std::vector<std::vector<std::string>>;

/// What `read` throws is noted, and costs what it would have read.
void attempt(std::vector<std::string>& notes, const std::function<void()>& read) {
  try {
    read();
  } catch (const Error& error) {
    notes.push_back(error.message() + ": the check is left out");
  }
}

/// Every text in nested lists, blanks before it left out.
void gather(const Json& value, std::vector<std::string>& out) {
  if (value.is_string()) {
    std::string text = target_text(value.get<std::string>());
    if (!text.empty()) out.push_back(std::move(text));
  }
  if (!value.is_array()) return;
  for (const Json& item : value) gather(item, out);
}

std::vector<std::string> texts(const Json& object, std::initializer_list<const char*> keys) {
  std::vector<std::string> out;
  for (const char* key : keys) {
    if (const Json* value = find_key(object, key)) gather(*value, out);
  }
  return out;
}

/// One answer in these forms; none without any.
Answers one_answer(std::vector<std::string> forms) {
  return forms.empty() ? Answers{} : Answers{std::move(forms)};
}

std::string prompt_of(const Json& object, std::string_view where) {
  for (const char* key : {"prompt", "phrase", "question"}) {
    const Json* value = find_key(object, key);
    if (value != nullptr && value->is_string()) return value->get<std::string>();
  }
  bad_key(where, "objects with 'prompt'", object.type_name());
}

/// One question of portability or locality. Of what stays the first form says where to look.
Fact::Check named(std::string_view key, std::string_view name, std::string prompt,
                  std::vector<std::string> forms) {
  const bool keeps = key == "locality";
  if (!keeps && forms.empty()) bad_key(key, "an answer to '" + prompt + "'", "none");
  if (keeps && forms.size() > 1) forms.resize(1);
  return {.group = fmt::format("{}.{}", key, name),
          .prompt = std::move(prompt),
          .answers = one_answer(std::move(forms)),
          .keeps = keeps};
}

/// {prompt, ground_truth}, or lists of them: a check each.
std::vector<Fact::Check> named_entry(std::string_view key, std::string_view name,
                                     const Json& entry) {
  if (!entry.is_object()) bad_key(key, "objects with 'prompt'", entry.type_name());
  const Json* prompts = find_key(entry, "prompt");
  if (prompts == nullptr || !prompts->is_array() || prompts->size() == 1) {
    std::string prompt = prompts != nullptr && prompts->is_array() ? text_at(entry, "prompt")
                                                                   : prompt_of(entry, key);
    return {
        named(key, name, std::move(prompt), texts(entry, {"ground_truth", "target", "answer"}))};
  }
  const Json* answers = find_key(entry, "ground_truth");
  const std::size_t count = answers == nullptr ? 0 : list_of(*answers).size();
  if (count != 0 && count != prompts->size()) {
    bad_key(key, fmt::format("as many answers as prompts, {}", prompts->size()),
            std::to_string(count));
  }
  std::vector<Fact::Check> out;
  for (std::size_t i = 0; i < prompts->size(); ++i) {
    if (!(*prompts)[i].is_string()) bad_key(key, "texts in 'prompt'", (*prompts)[i].type_name());
    std::vector<std::string> forms;
    if (count != 0) gather((*answers)[i], forms);
    out.push_back(named(key, name, (*prompts)[i].get<std::string>(), std::move(forms)));
  }
  return out;
}

void add_named(const Json& record, const char* key, std::vector<Fact::Check>& out,
               std::vector<std::string>& notes) {
  const Json* groups = find_key(record, key);
  if (groups == nullptr) return;
  attempt(notes, [&] {
    if (!groups->is_object()) bad_key(key, "an object", groups->type_name());
    if (find_key(*groups, "New Question") != nullptr) {
      out.push_back(
          named(key, "one_hop", text_at(*groups, "New Question"), texts(*groups, {"New Answer"})));
      return;
    }
    for (const auto& [name, entries] : groups->items()) {
      for (const Json& entry : list_of(entries)) {
        attempt(notes, [&, &name = name] {
          for (Fact::Check& check : named_entry(key, name, entry)) out.push_back(std::move(check));
        });
      }
    }
  });
}

void add_flat(const Json& record, std::vector<Fact::Check>& out, std::vector<std::string>& notes) {
  const Json* prompt = find_key(record, "locality_prompt");
  if (prompt == nullptr) return;
  attempt(notes, [&] {
    Json entry{{"prompt", *prompt}};
    if (const Json* answer = find_key(record, "locality_ground_truth"))
      entry["ground_truth"] = *answer;
    for (Fact::Check& check : named_entry("locality", "neighborhood", entry))
      out.push_back(std::move(check));
  });
}

void add_hops(const Json& record, std::vector<Fact::Check>& out, std::vector<std::string>& notes) {
  const Json* questions = find_key(record, "questions");
  if (questions == nullptr || find_key(record, "new_answer") == nullptr) return;
  const Answers answers = one_answer(texts(record, {"new_answer", "new_answer_alias"}));
  for (const Json& question : list_of(*questions)) {
    attempt(notes, [&] {
      if (!question.is_string()) bad_key("questions", "texts", question.type_name());
      if (answers.empty()) bad_key("new_answer", "text", "none");
      out.push_back({.group = "multi_hop",
                     .prompt = question.get<std::string>(),
                     .answers = answers,
                     .set = "questions"});
    });
  }
}

Fact::Check ripple_query(const Json& query, const char* kind) {
  Fact::Check out{.group = fmt::format("ripple.{}", kind), .prompt = prompt_of(query, kind)};
  const Json* answers = find_key(query, "answers");
  for (const Json& answer : answers == nullptr ? Json::array() : list_of(*answers)) {
    std::vector<std::string> forms = texts(answer, {"value", "aliases"});
    gather(answer, forms);
    if (!forms.empty()) out.answers.push_back(std::move(forms));
  }
  if (out.answers.empty()) bad_key(kind, "an answer to '" + out.prompt + "'", "none");
  return out;
}

/// One test of a kind, whose queries are a set.
std::vector<Fact::Check> ripple_test(const Json& test, const char* kind, std::size_t place) {
  const Json* queries = find_key(test, "test_queries");
  if (queries == nullptr) bad_key(kind, "tests with 'test_queries'", test.type_name());
  const Json* condition = find_key(test, "test_condition");
  std::vector<Fact::Check> conditions;
  if (const Json* asked = find_key(test, "condition_queries")) {
    for (const Json& query : list_of(*asked)) conditions.push_back(ripple_query(query, kind));
  }
  std::vector<Fact::Check> out;
  for (const Json& query : list_of(*queries)) {
    out.push_back(ripple_query(query, kind));
    out.back().set = fmt::format("{}-{}", kind, place);
    out.back().all = condition != nullptr && *condition == "AND";
    out.back().conditions = conditions;
  }
  return out;
}

void add_ripples(const Json& record, std::vector<Fact::Check>& out,
                 std::vector<std::string>& notes) {
  constexpr std::array kKinds{"Logical_Generalization", "Subject_Aliasing",   "Compositionality_I",
                              "Compositionality_II",    "Relation_Specifity", "Forgetfulness"};
  if (find_key(record, "edit") == nullptr) return;
  for (const char* kind : kKinds) {
    const Json* tests = find_key(record, kind);
    if (tests == nullptr) continue;
    const Json list = list_of(*tests);
    for (std::size_t t = 0; t < list.size(); ++t) {
      attempt(notes, [&] {
        for (Fact::Check& check : ripple_test(list[t], kind, t)) out.push_back(std::move(check));
      });
    }
  }
}

/// A list of texts is one answer in several forms; lists in it are an answer each.
Answers own_answers(const Json& entry) {
  const Json* value = find_key(entry, "answers");
  if (value == nullptr) return {};
  Answers out;
  std::vector<std::string> forms;
  for (const Json& item : list_of(*value)) {
    std::vector<std::string> one;
    gather(item, one);
    if (item.is_string()) {
      forms.insert(forms.end(), one.begin(), one.end());
    } else if (item.is_array() && !one.empty()) {
      out.push_back(std::move(one));
    }
  }
  if (!forms.empty()) out.push_back(std::move(forms));
  return out;
}

Fact::Check own_check(const Json& entry) {
  const auto group = texts(entry, {"group"}), set = texts(entry, {"set"});
  if (group.empty()) bad_key("checks", "objects with 'group' and 'prompt'", entry.type_name());
  Answers answers = own_answers(entry);
  const bool keeps = json_bool(entry, "keeps", "checks", answers.empty());
  Fact::Check out{.group = group.front(),
                  .prompt = prompt_of(entry, "checks"),
                  .answers = std::move(answers),
                  .keeps = keeps,
                  .set = set.empty() ? "" : set.front(),
                  .all = json_bool(entry, "all", "checks", false)};
  if (!keeps && out.answers.empty()) bad_key("checks", "answers, or 'keeps'", "neither");
  if (const Json* conditions = find_key(entry, "conditions")) {
    for (const Json& condition : list_of(*conditions)) {
      out.conditions.push_back({.group = "condition",
                                .prompt = prompt_of(condition, "conditions"),
                                .answers = own_answers(condition)});
    }
  }
  return out;
}

}  // namespace

std::vector<Fact::Check> read_checks(const Json& record, std::vector<std::string>& notes) {
  std::vector<Fact::Check> out;
  add_named(record, "portability", out, notes);
  add_named(record, "locality", out, notes);
  add_flat(record, out, notes);
  add_hops(record, out, notes);
  add_ripples(record, out, notes);
  const Json* own = find_key(record, "checks");
  if (own == nullptr) return out;
  attempt(notes, [&] {
    if (!own->is_array()) bad_key("checks", "a list", own->type_name());
    for (const Json& entry : *own) attempt(notes, [&] { out.push_back(own_check(entry)); });
  });
  return out;
}

}  // namespace lancet
