// The kinds of records, told apart by their keys:
//   CounterFact  requested_rewrite {prompt, subject, target_new {str, id}, target_true.str,
//   relation_id}, paraphrase_prompts,
//                neighborhood_prompts, generation_prompts; ours beside them: leak_prompts,
//                leak_same_relation_prompts
//   zsRE         src, subject, alt (else answers[0]), rephrase, loc, loc_ans. Target: alt, as
//   EasyEdit has it;
//                ROME takes answers[0], so published numbers of the two differ.
//   EasyEdit,    prompt, target_new, subject, ground_truth, rephrase_prompt, locality / portability
//   KnowEdit     {name: {prompt, ground_truth}} or {name: [{...}]}; WikiBio: text, labels, concept
//   MQuAKE       requested_rewrite as a list, questions, new_answer, new_answer_alias: one fact a
//   rewrite, the questions are checks of the first
//   RippleEdits  edit {prompt, ...} with the whole sentence, and lists of tests by kind
//   ours         subject, prompt with {}, target, true, paraphrases, neighbors, generation, leak,
//   unrelated, checks, lang, relation, target_id
// What follows from an edit (portability, questions of several hops, ripples) becomes checks:
// fact_checks.cpp.
#include <algorithm>
#include <array>
#include <cctype>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "surgery/files/facts.h"

namespace lancet {
namespace {

[[noreturn]] void bad(std::string_view key, std::string_view expected, std::string_view found) {
  fail(ErrorKind::kUsage, "facts",
       fmt::format("key '{}': expected {}, found {}", key, expected, found));
}

const Json* find(const Json& object, std::string_view key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

/// Text, or the first text inside nested lists (KnowEdit writes [["Paris"]]).
const Json* first_text(const Json& value) {
  const Json* at = &value;
  while (at->is_array() && !at->empty()) at = &at->front();
  return at->is_string() ? at : nullptr;
}

std::string text_at(const Json& object, std::string_view key) {
  const Json* value = find(object, key);
  if (value == nullptr) bad(key, "text", "nothing");
  const Json* text = first_text(*value);
  if (text == nullptr) bad(key, "text", value->type_name());
  return text->get<std::string>();
}

std::optional<std::string> optional_text(const Json& object, std::string_view key) {
  const Json* value = find(object, key);
  if (value == nullptr) return std::nullopt;
  if (value->is_array() && value->empty()) return std::nullopt;
  return text_at(object, key);
}

std::vector<std::string> texts_at(const Json& object, std::string_view key) {
  const Json* value = find(object, key);
  if (value == nullptr) return {};
  if (value->is_string()) return {value->get<std::string>()};
  if (!value->is_array()) bad(key, "a list of texts", value->type_name());
  std::vector<std::string> out;
  for (const Json& item : *value) {
    if (!item.is_string()) bad(key, "a list of texts", item.type_name());
    out.push_back(item.get<std::string>());
  }
  return out;
}

/// A target without its leading blank; empty texts are refused later by check_fact.
std::string target_text(std::string text) {
  if (text.starts_with(' ')) text.erase(0, 1);
  return text;
}

/// Puts "{}" where the subject stands.
std::string template_of(std::string prompt, const std::string& subject, std::string_view key) {
  const std::size_t at = subject.empty() ? std::string::npos : prompt.find(subject);
  if (at == std::string::npos) {
    bad(key, fmt::format("a prompt that contains the subject '{}'", printable(subject)),
        "'" + printable(prompt) + "'");
  }
  return prompt.replace(at, subject.size(), "{}");
}

constexpr std::array kIdKeys{"id", "case_id"};

/// What ours() and read_checks() look for.
const std::vector<std::string_view>& own_keys() {
  static const std::vector<std::string_view> kKeys{
      "id",          "case_id",   "subject",     "prompt",     "target",
      "true",        "neighbors", "paraphrases", "generation", "leak",
      "unrelated",   "checks",    "lang",        "relation",   "target_id",
      "portability", "locality",  "questions",   "new_answer", "new_answer_alias"};
  return kKeys;
}

std::string record_id(const Json& record, std::size_t index) {
  for (const char* key : kIdKeys) {
    const Json* value = find(record, key);
    if (value == nullptr) continue;
    if (value->is_string()) return value->get<std::string>();
    if (value->is_number_integer()) return std::to_string(value->get<std::int64_t>());
    bad(key, "text or an integer", value->type_name());
  }
  return std::to_string(index);
}

/// Strings, or objects with prompt and answer / target / ground_truth.
std::vector<Fact::Neighbor> neighbors_at(const Json& record, std::string_view key,
                                         const std::optional<std::string>& answer) {
  std::vector<Fact::Neighbor> out;
  const Json* value = find(record, key);
  if (value == nullptr) return out;
  if (!value->is_array()) bad(key, "a list", value->type_name());
  for (const Json& item : *value) {
    if (item.is_string()) {
      out.push_back({item.get<std::string>(), answer});
      continue;
    }
    if (!item.is_object()) bad(key, "texts or objects", item.type_name());
    Fact::Neighbor neighbor{text_at(item, "prompt"), answer};
    for (const char* name : {"answer", "target", "ground_truth"}) {
      if (find(item, name) == nullptr) continue;
      neighbor.answer = optional_text(item, name);
      break;
    }
    if (neighbor.answer) neighbor.answer = target_text(*neighbor.answer);
    out.push_back(std::move(neighbor));
  }
  return out;
}

/// {name: {prompt, ground_truth}} and {name: [{prompt, ground_truth}]}.
void add_locality(const Json& record, std::vector<Fact::Neighbor>& out) {
  const Json* locality = find(record, "locality");
  if (locality == nullptr) return;
  if (!locality->is_object()) bad("locality", "an object", locality->type_name());
  for (const auto& [name, entry] : locality->items()) {
    const Json list = entry.is_array() ? entry : Json::array({entry});
    for (const Json& item : list) {
      if (!item.is_object()) bad("locality", "objects with 'prompt'", item.type_name());
      auto answer = optional_text(item, "ground_truth");
      if (answer) answer = target_text(*answer);
      out.push_back({text_at(item, "prompt"), std::move(answer)});
    }
  }
}

Fact counterfact(const Json& record, const Json& rewrite) {
  if (!rewrite.is_object()) bad("requested_rewrite", "an object", rewrite.type_name());
  const auto object_text = [&](const char* key) -> std::optional<std::string> {
    const Json* value = find(rewrite, key);
    if (value == nullptr) return std::nullopt;
    return target_text(value->is_object() ? text_at(*value, "str") : text_at(rewrite, key));
  };
  Fact fact;
  fact.subject = text_at(rewrite, "subject");
  fact.prompt = text_at(rewrite, "prompt");
  const auto target = object_text("target_new");
  if (!target) bad("target_new", "an object with 'str'", "nothing");
  fact.target = *target;
  fact.truth = object_text("target_true");
  fact.relation = optional_text(rewrite, "relation_id").value_or("");
  if (const Json* object = find(rewrite, "target_new"); object->is_object())
    fact.target_id = optional_text(*object, "id").value_or("");
  fact.paraphrases = texts_at(record, "paraphrase_prompts");
  fact.neighbors = neighbors_at(record, "neighborhood_prompts", fact.truth);
  fact.generation = texts_at(record, "generation_prompts");
  fact.leak = texts_at(record, "leak_same_relation_prompts");
  fact.unrelated = texts_at(record, "leak_prompts");
  return fact;
}

Fact zsre(const Json& record) {
  Fact fact;
  fact.subject = text_at(record, "subject");
  fact.prompt = template_of(text_at(record, "src"), fact.subject, "src");
  const auto alt = optional_text(record, "alt");
  const auto answer = optional_text(record, "answers");
  if (!alt && !answer) bad("alt", "text", "nothing");
  fact.target = target_text(alt ? *alt : *answer);
  if (alt && answer) fact.truth = target_text(*answer);
  fact.paraphrases = texts_at(record, "rephrase");
  if (auto loc = optional_text(record, "loc")) {
    constexpr std::string_view kMark = "nq question: ";
    if (loc->starts_with(kMark)) *loc = loc->substr(kMark.size()) + "?";
    fact.neighbors.push_back({*loc, optional_text(record, "loc_ans")});
  }
  return fact;
}

Fact easyedit(const Json& record) {
  Fact fact;
  fact.subject = text_at(record, "subject");
  std::string prompt = text_at(record, "prompt");
  fact.prompt = prompt.find("{}") != std::string::npos
                    ? std::move(prompt)
                    : template_of(std::move(prompt), fact.subject, "prompt");
  fact.target = target_text(text_at(record, "target_new"));
  fact.truth = optional_text(record, "ground_truth");
  if (fact.truth) fact.truth = target_text(*fact.truth);
  for (const char* key : {"rephrase_prompt", "rephrase"}) {
    for (std::string& text : texts_at(record, key)) fact.paraphrases.push_back(std::move(text));
  }
  add_locality(record, fact.neighbors);
  if (auto loc = optional_text(record, "loc"))
    fact.neighbors.push_back({*loc, optional_text(record, "loc_ans")});
  return fact;
}

Fact wikibio(const Json& record) {
  Fact fact;
  fact.subject = text_at(record, "concept");
  fact.prompt = template_of(text_at(record, "text"), fact.subject, "text");
  fact.target = target_text(text_at(record, "labels"));
  add_locality(record, fact.neighbors);
  return fact;
}

/// "The name of the country of citizenship of Leonardo DiCaprio is Syria." The subject stands
/// between the relation's own words and " is", unless the record has it.
Fact ripple(const Json& record) {
  const Json& edit = record["edit"];
  if (!edit.is_object()) bad("edit", "an object", edit.type_name());
  std::string sentence = text_at(edit, "prompt");
  while (!sentence.empty() && (sentence.back() == '.' || sentence.back() == ' '))
    sentence.pop_back();
  const std::size_t is = sentence.rfind(" is ");
  if (is == std::string::npos) bad("edit.prompt", "a sentence with ' is '", "'" + sentence + "'");
  Fact fact;
  fact.target = sentence.substr(is + 4);
  const std::string asked = sentence.substr(0, is + 3);
  if (const auto subject = optional_text(edit, "subject")) {
    fact.subject = *subject;
  } else {
    std::string relation = optional_text(edit, "relation").value_or("");
    for (char& c : relation)
      c = c == '_' ? ' ' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    const std::size_t at = asked.find(relation + " of ");
    if (relation.empty() || at == std::string::npos)
      bad("edit", "'subject', or the relation's words in 'prompt'", "neither");
    const std::size_t from = at + relation.size() + 4;
    fact.subject = asked.substr(from, asked.size() - 3 - from);
  }
  fact.prompt = template_of(asked, fact.subject, "edit.prompt");
  if (const Json* original = find(edit, "original_fact"); original != nullptr) {
    std::string before = optional_text(*original, "prompt").value_or("");
    while (before.ends_with('.') || before.ends_with(' ')) before.pop_back();
    if (before.starts_with(asked + " ")) fact.truth = before.substr(asked.size() + 1);
  }
  return fact;
}

Fact ours(const Json& record) {
  Fact fact;
  fact.subject = text_at(record, "subject");
  fact.prompt = text_at(record, "prompt");
  fact.target = target_text(text_at(record, "target"));
  fact.truth = optional_text(record, "true");
  if (fact.truth) fact.truth = target_text(*fact.truth);
  fact.paraphrases = texts_at(record, "paraphrases");
  fact.neighbors = neighbors_at(record, "neighbors", std::nullopt);
  fact.generation = texts_at(record, "generation");
  fact.leak = texts_at(record, "leak");
  fact.unrelated = texts_at(record, "unrelated");
  fact.lang = optional_text(record, "lang").value_or("");
  fact.relation = optional_text(record, "relation").value_or("");
  fact.target_id = optional_text(record, "target_id").value_or("");
  return fact;
}

/// Puts the subject where "{}" stands.
void fill_slots(std::string& prompt, const std::string& subject) {
  for (std::size_t at = prompt.find("{}"); at != std::string::npos;
       at = prompt.find("{}", at + subject.size()))
    prompt.replace(at, 2, subject);
}

void fill_slots(Fact& fact) {
  for (auto* prompts : {&fact.paraphrases, &fact.generation, &fact.unrelated}) {
    for (std::string& prompt : *prompts) fill_slots(prompt, fact.subject);
  }
  for (Fact::Neighbor& neighbor : fact.neighbors) fill_slots(neighbor.prompt, fact.subject);
  for (Fact::Check& check : fact.checks) {
    fill_slots(check.prompt, fact.subject);
    for (Fact::Check& condition : check.conditions) fill_slots(condition.prompt, fact.subject);
  }
}

/// Filled in, the edited prompt itself would count as a leak.
void check_leak(const Fact& fact) {
  for (const std::string& prompt : fact.leak) {
    if (prompt.find("{}") != std::string::npos)
      bad("leak", "prompts about other subjects",
          "'" + printable(prompt) + "', whose '{}' is the fact's own");
  }
}

/// None of the keys that tell another kind.
bool is_ours(const Json& record) {
  for (const char* key : {"requested_rewrite", "edit", "src", "target_new"}) {
    if (find(record, key) != nullptr) return false;
  }
  return find(record, "labels") == nullptr || find(record, "concept") == nullptr;
}

void check_utf8(const Fact& fact) {
  for (const std::string* text : {&fact.subject, &fact.prompt, &fact.target}) {
    if (find_invalid_utf8(*text))
      bad("subject, prompt or target", "UTF-8", "'" + printable(*text) + "'");
  }
}

}  // namespace

void check_fact(const Fact& fact) {
  const auto blank = [](const std::string& text) {
    return text.find_first_not_of(" \t\r\n") == std::string::npos;
  };
  const std::size_t at = fact.prompt.find("{}");
  if (at == std::string::npos) {
    fail(ErrorKind::kUsage, "edit",
         fmt::format("key 'prompt': expected '{{}}' where the subject stands, found '{}'",
                     printable(fact.prompt)),
         "write --prompt \"The capital of {} is\" --subject France");
  }
  if (fact.prompt.find("{}", at + 2) != std::string::npos) bad("prompt", "one '{}'", "several");
  if (blank(fact.subject)) {
    fail(ErrorKind::kUsage, "edit", "key 'subject': expected text, found nothing",
         "give --subject");
  }
  if (blank(fact.target)) {
    fail(ErrorKind::kUsage, "edit", "key 'target': expected text, found nothing", "give --target");
  }
  check_utf8(fact);
}

Fact parse_fact(const Json& record, std::size_t index) {
  if (!record.is_object()) bad("record", "an object", record.type_name());
  const auto has = [&](std::string_view key) { return find(record, key) != nullptr; };
  Fact fact;
  if (has("requested_rewrite")) {
    const Json& rewrite = record["requested_rewrite"];
    if (rewrite.is_array() && rewrite.empty()) bad("requested_rewrite", "a rewrite", "none");
    fact = counterfact(record, rewrite.is_array() ? rewrite.front() : rewrite);
  } else if (has("edit")) {
    fact = ripple(record);
  } else if (has("src")) {
    fact = zsre(record);
  } else if (has("target_new")) {
    fact = easyedit(record);
  } else if (has("labels") && has("concept")) {
    fact = wikibio(record);
  } else {
    fact = ours(record);
  }
  fact.id = record_id(record, index);
  fact.checks = read_checks(record);
  check_fact(fact);
  fill_slots(fact);
  return fact;
}

std::vector<Fact> parse_record(const Json& record, std::size_t index) {
  std::vector<Fact> out{parse_fact(record, index)};
  check_leak(out.front());
  const Json* rewrites = find(record, "requested_rewrite");
  if (rewrites == nullptr || !rewrites->is_array()) return out;
  for (std::size_t i = 1; i < rewrites->size(); ++i) {
    out.push_back(counterfact(Json::object(), (*rewrites)[i]));
    out.back().id = fmt::format("{}-{}", out.front().id, i + 1);
    check_fact(out.back());
  }
  return out;
}

bool has_id(const Json& record) {
  return std::ranges::any_of(kIdKeys,
                             [&](const char* key) { return find(record, key) != nullptr; });
}

std::vector<std::string> unread_keys(const Json& record) {
  std::vector<std::string> out;
  if (!is_ours(record)) return out;
  for (const auto& [key, value] : record.items()) {
    if (std::ranges::find(own_keys(), key) == own_keys().end()) out.push_back(key);
  }
  return out;
}

std::string nearest_key(std::string_view key) { return did_you_mean(key, own_keys()); }

Json fact_to_json(const Fact& fact) {
  Json json{
      {"id", fact.id}, {"subject", fact.subject}, {"prompt", fact.prompt}, {"target", fact.target}};
  if (fact.truth) json["true"] = *fact.truth;
  if (!fact.paraphrases.empty()) json["paraphrases"] = fact.paraphrases;
  for (const Fact::Neighbor& neighbor : fact.neighbors) {
    Json entry{{"prompt", neighbor.prompt}};
    if (neighbor.answer) entry["answer"] = *neighbor.answer;
    json["neighbors"].push_back(std::move(entry));
  }
  if (!fact.generation.empty()) json["generation"] = fact.generation;
  if (!fact.leak.empty()) json["leak"] = fact.leak;
  if (!fact.unrelated.empty()) json["unrelated"] = fact.unrelated;
  for (const Fact::Check& check : fact.checks) {
    Json entry{{"group", check.group}, {"prompt", check.prompt}, {"answers", check.answers}};
    if (!check.set.empty()) entry["set"] = check.set;
    if (check.all) entry["all"] = true;
    for (const Fact::Check& condition : check.conditions)
      entry["conditions"].push_back({{"prompt", condition.prompt}, {"answers", condition.answers}});
    json["checks"].push_back(std::move(entry));
  }
  if (!fact.lang.empty()) json["lang"] = fact.lang;
  if (!fact.relation.empty()) json["relation"] = fact.relation;
  if (!fact.target_id.empty()) json["target_id"] = fact.target_id;
  return json;
}

}  // namespace lancet
