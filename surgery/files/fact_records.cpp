// The kinds of records, told apart by their keys:
//   CounterFact  requested_rewrite {prompt, subject, target_new {str, id}, target_true.str,
//   relation_id}, paraphrase_prompts,
//                neighborhood_prompts, generation_prompts; ours beside them: leak_prompts,
//                leak_same_relation_prompts
//   zsRE         src, subject, alt (else answers[0]), rephrase, loc, loc_ans. Target: alt, as
//   EasyEdit has it;
//                ROME takes answers[0], so published numbers of the two differ.
//   EasyEdit,    prompt, target_new, subject, ground_truth, rephrase_prompt, locality / portability
//   KnowEdit     {name: {prompt, ground_truth}} or {name: [{...}]}, or flat (locality_prompt);
//                WikiBio: text, labels, concept
//   MQuAKE       requested_rewrite as a list, questions, new_answer, new_answer_alias: one fact a
//   rewrite, the questions are checks of the first
//   RippleEdits  edit {prompt, ...} with the whole sentence (ripple_sentence.cpp), and lists of
//   tests by kind
//   ours         subject, prompt with {}, target, true, paraphrases, neighbors, generation, leak,
//   unrelated, checks, lang, relation, target_id
// What follows from an edit (portability, questions of several hops, ripples) becomes checks:
// fact_checks.cpp.
#include <algorithm>
#include <array>
#include <functional>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "surgery/files/facts.h"
#include "surgery/files/record_json.h"
#include "surgery/files/ripple_sentence.h"

namespace lancet {
namespace {

constexpr std::array kIdKeys{"id", "case_id"};

std::string record_id(const Json& record, std::size_t index) {
  for (const char* key : kIdKeys) {
    const Json* value = find_key(record, key);
    if (value == nullptr) continue;
    if (value->is_string()) return value->get<std::string>();
    if (value->is_number_integer()) return std::to_string(value->get<std::int64_t>());
    bad_key(key, "text or an integer", value->type_name());
  }
  return std::to_string(index);
}

/// Strings, or objects with prompt and answer / target / ground_truth.
std::vector<Fact::Neighbor> neighbors_at(const Json& record, std::string_view key,
                                         const std::optional<std::string>& answer) {
  std::vector<Fact::Neighbor> out;
  const Json* value = find_key(record, key);
  if (value == nullptr) return out;
  if (!value->is_array()) bad_key(key, "a list", value->type_name());
  for (const Json& item : *value) {
    if (item.is_string()) {
      out.push_back({item.get<std::string>(), answer});
      continue;
    }
    if (!item.is_object()) bad_key(key, "texts or objects", item.type_name());
    Fact::Neighbor neighbor{text_at(item, "prompt"), answer};
    for (const char* name : {"answer", "target", "ground_truth"}) {
      if (find_key(item, name) == nullptr) continue;
      neighbor.answer = optional_text(item, name);
      break;
    }
    if (neighbor.answer) neighbor.answer = target_text(*neighbor.answer);
    out.push_back(std::move(neighbor));
  }
  return out;
}

Fact counterfact(const Json& record, const Json& rewrite) {
  if (!rewrite.is_object()) bad_key("requested_rewrite", "an object", rewrite.type_name());
  const auto object_text = [&](const char* key) -> std::optional<std::string> {
    const Json* value = find_key(rewrite, key);
    if (value == nullptr) return std::nullopt;
    return target_text(value->is_object() ? text_at(*value, "str") : text_at(rewrite, key));
  };
  Fact fact;
  fact.subject = text_at(rewrite, "subject");
  fact.prompt = text_at(rewrite, "prompt");
  const auto target = object_text("target_new");
  if (!target) bad_key("target_new", "an object with 'str'", "nothing");
  fact.target = *target;
  fact.truth = object_text("target_true");
  fact.relation = optional_text(rewrite, "relation_id").value_or("");
  if (const Json* object = find_key(rewrite, "target_new"); object->is_object())
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
  if (!alt && !answer) bad_key("alt", "text", "nothing");
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
  if (auto loc = optional_text(record, "loc"))
    fact.neighbors.push_back({*loc, optional_text(record, "loc_ans")});
  return fact;
}

Fact wikibio(const Json& record) {
  Fact fact;
  fact.subject = text_at(record, "concept");
  fact.prompt = template_of(text_at(record, "text"), fact.subject, "text");
  fact.target = target_text(text_at(record, "labels"));
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

/// Every prompt of a fact but its own.
void for_each_prompt(Fact& fact, const std::function<void(std::string& prompt)>& visit) {
  for (auto* prompts : {&fact.paraphrases, &fact.generation, &fact.unrelated})
    std::ranges::for_each(*prompts, visit);
  for (Fact::Neighbor& neighbor : fact.neighbors) visit(neighbor.prompt);
  for (Fact::Check& check : fact.checks) {
    visit(check.prompt);
    for (Fact::Check& condition : check.conditions) visit(condition.prompt);
  }
}

void drop_end_blanks(std::string& prompt) {
  while (prompt.ends_with(' ')) prompt.pop_back();
}

/// What EasyEdit and KnowEdit ask to stay is about neighbours.
void add_neighbors(Fact& fact) {
  for (const Fact::Check& check : fact.checks) {
    if (!check.keeps || !check.group.starts_with("locality.")) continue;
    fact.neighbors.push_back({check.prompt, std::nullopt});
    if (!check.answers.empty()) fact.neighbors.back().answer = check.answers.front().front();
  }
}

/// Filled in, the edited prompt itself would count as a leak.
void check_leak(const Fact& fact) {
  for (const std::string& prompt : fact.leak) {
    if (prompt.find("{}") != std::string::npos)
      bad_key("leak", "prompts about other subjects",
              "'" + printable(prompt) + "', whose '{}' is the fact's own");
  }
}

/// A kind of record.
struct Kind {
  std::vector<std::string_view> marks;  ///< keys that tell it, all of them there
  Fact (*read)(const Json& record);
  std::vector<std::string_view> keys;   ///< that are read, beside kCommonKeys
  std::vector<std::string_view> aside;  ///< published with it, of no use here
  bool neighbors = false;               ///< what stays (locality) is about neighbours
};

Fact rewrite(const Json& record) {
  const Json& first = record["requested_rewrite"];
  if (first.is_array() && first.empty()) bad_key("requested_rewrite", "a rewrite", "none");
  return counterfact(record, first.is_array() ? first.front() : first);
}

/// The first whose marks a record has.
const Kind& kind_of(const Json& record) {
  static const std::vector<Kind> kKinds{
      {{"requested_rewrite"},
       rewrite,
       {"requested_rewrite", "paraphrase_prompts", "neighborhood_prompts", "generation_prompts",
        "leak_prompts", "leak_same_relation_prompts"},
       {"attribute_prompts", "pararel_idx", "answer", "answer_alias", "single_hops",
        "new_single_hops", "orig"}},
      {{"edit"},
       read_ripple,
       {"edit", "Logical_Generalization", "Subject_Aliasing", "Compositionality_I",
        "Compositionality_II", "Relation_Specifity", "Forgetfulness"},
       {"example_type"}},
      {{"src"},
       zsre,
       {"src", "subject", "alt", "answers", "rephrase", "loc", "loc_ans"},
       {"pred", "cond"}},
      {{"target_new"},
       easyedit,
       {"prompt", "subject", "target_new", "ground_truth", "rephrase_prompt", "rephrase", "loc",
        "loc_ans"},
       {"pred", "cond"},
       true},
      {{"labels", "concept"}, wikibio, {"text", "labels", "concept"}, {}, true},
      {{},
       ours,
       {"subject", "prompt", "target", "true", "neighbors", "paraphrases", "generation", "leak",
        "unrelated", "lang", "relation", "target_id"},
       {}},
  };
  return *std::ranges::find_if(kKinds, [&](const Kind& kind) {
    return std::ranges::all_of(
        kind.marks, [&](std::string_view key) { return find_key(record, key) != nullptr; });
  });
}

/// Read of every kind: ids, and what read_checks() looks for.
constexpr std::array<std::string_view, 10> kCommonKeys{
    "id",        "case_id",    "portability",      "locality", "locality_prompt",
    "questions", "new_answer", "new_answer_alias", "checks",   "locality_ground_truth"};

/// "key 'x': nothing reads it; did you mean 'y'?" for each such key.
void note_unread(const Json& record, const Kind& kind, std::vector<std::string>& notes) {
  std::vector<std::string_view> known(kCommonKeys.begin(), kCommonKeys.end());
  known.insert(known.end(), kind.keys.begin(), kind.keys.end());
  for (const auto& [key, value] : record.items()) {
    const auto is = [&, &key = key](const std::vector<std::string_view>& keys) {
      return std::ranges::find(keys, key) != keys.end();
    };
    if (is(known) || is(kind.aside)) continue;
    const std::string meant = did_you_mean(key, known);
    notes.push_back(fmt::format("key '{}': nothing reads it{}{}", printable(key),
                                meant.empty() ? "" : "; ", meant));
  }
}

/// Flat where there is one answer.
Json answers_to_json(const Fact::Check& check) {
  return check.answers.size() == 1 ? Json(check.answers.front()) : Json(check.answers);
}

void check_utf8(const Fact& fact) {
  for (const std::string* text : {&fact.subject, &fact.prompt, &fact.target}) {
    if (find_invalid_utf8(*text))
      bad_key("subject, prompt or target", "UTF-8", "'" + printable(*text) + "'");
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
  if (fact.prompt.find("{}", at + 2) != std::string::npos) bad_key("prompt", "one '{}'", "several");
  if (blank(fact.subject)) {
    fail(ErrorKind::kUsage, "edit", "key 'subject': expected text, found nothing",
         "give --subject");
  }
  if (blank(fact.target)) {
    fail(ErrorKind::kUsage, "edit", "key 'target': expected text, found nothing", "give --target");
  }
  check_utf8(fact);
}

void drop_end_blanks(Fact& fact) {
  drop_end_blanks(fact.prompt);
  for_each_prompt(fact, [](std::string& prompt) { drop_end_blanks(prompt); });
  for (std::string& prompt : fact.leak) drop_end_blanks(prompt);
}

namespace {

Fact read_fact(const Json& record, std::size_t index, std::vector<std::string>& notes) {
  if (!record.is_object()) bad_key("record", "an object", record.type_name());
  const Kind& kind = kind_of(record);
  Fact fact = kind.read(record);
  fact.id = record_id(record, index);
  fact.checks = read_checks(record, notes);
  if (kind.neighbors) add_neighbors(fact);
  drop_end_blanks(fact);
  check_fact(fact);
  for_each_prompt(fact, [&](std::string& prompt) { fill_slots(prompt, fact.subject); });
  return fact;
}

}  // namespace

Fact parse_fact(const Json& record, std::size_t index) {
  std::vector<std::string> notes;
  return read_fact(record, index, notes);
}

FactRecord parse_record(const Json& record, std::size_t index) {
  FactRecord out;
  out.facts.push_back(read_fact(record, index, out.notes));
  check_leak(out.facts.front());
  note_unread(record, kind_of(record), out.notes);
  const Json* rewrites = find_key(record, "requested_rewrite");
  if (rewrites == nullptr || !rewrites->is_array()) return out;
  for (std::size_t i = 1; i < rewrites->size(); ++i) {
    Fact fact = counterfact(Json::object(), (*rewrites)[i]);
    fact.id = fmt::format("{}-{}", out.facts.front().id, i + 1);
    drop_end_blanks(fact);
    check_fact(fact);
    out.facts.push_back(std::move(fact));
  }
  return out;
}

bool has_id(const Json& record) {
  return std::ranges::any_of(kIdKeys,
                             [&](const char* key) { return find_key(record, key) != nullptr; });
}

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
    Json entry{
        {"group", check.group}, {"prompt", check.prompt}, {"answers", answers_to_json(check)}};
    if (check.keeps) entry["keeps"] = true;
    if (!check.set.empty()) entry["set"] = check.set;
    if (check.all) entry["all"] = true;
    for (const Fact::Check& condition : check.conditions)
      entry["conditions"].push_back(
          {{"prompt", condition.prompt}, {"answers", answers_to_json(condition)}});
    json["checks"].push_back(std::move(entry));
  }
  if (!fact.lang.empty()) json["lang"] = fact.lang;
  if (!fact.relation.empty()) json["relation"] = fact.relation;
  if (!fact.target_id.empty()) json["target_id"] = fact.target_id;
  return json;
}

}  // namespace lancet
