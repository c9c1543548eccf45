// "The name of the country of citizenship of Leonardo DiCaprio is Syria."
// Most relations of RippleEdits (Cohen et al. 2023, arXiv:2307.12976) are put as
// "... RELATION of SUBJECT is TARGET."; the others have the words of the table.
#include <algorithm>
#include <cctype>

#include "surgery/files/record_json.h"
#include "surgery/files/ripple_sentence.h"

namespace lancet {
namespace {

/// What stands before a subject and between it and the target.
struct Phrasing {
  std::string_view relation, before, behind;
};
constexpr Phrasing kPhrasings[] = {
    {"AWARD_RECEIVED", "The name of the award ", " won is"},
    {"CAPITAL", "The name of the capital city of ", " is"},
    {"CAPITAL_OF", "The name of the country which ", " is the capital of is"},
    {"CAST_MEMBER", "The names of the cast members of ", " are"},
    {"CONTINENT", "The name of the continent which ", " is part of is"},
    {"COUNTRY", "The name of the country which ", " is associated with is"},
    {"CURRENCY", "The name of the currency in ", " is"},
    {"ETHNIC_GROUP", "The name of the ethnic group which ", " is associated with is"},
    {"FOLLOWED_BY", "", " is followed by"},
    {"FOLLOWS", "", " follows"},
    {"IS_ALIVE", "Is ", " still alive?"},
    {"LEAGUE", "The name of the league which ", " plays in is"},
    {"LIKELY_ANTHEM", "The name of the anthem that is most likely to be performed in ", " is"},
    {"MEMBER_OF_SPORTS_TEAM", "The name of the sports team which ", " is a member of is"},
    {"NATIVE_LANGUAGE", "The mother tongue of ", " is"},
    {"NUMBER_OF_CHILDREN", "The number of children ", " has is"},
    {"POSITION_HELD", "The name of the position held by ", " is"},
    {"RELIGION", "The name of the religion which ", " is associated with is"},
    {"SEX_OR_GENDER", "The gender of ", " is"},
    {"SIBLING", "The names of the siblings of ", " are"},
};

/// Without the full stop that ends it; one that belongs to the last word stays.
std::string sentence_at(const Json& object) {
  std::string text = optional_text(object, "prompt").value_or("");
  while (text.ends_with(' ')) text.pop_back();
  if (text.ends_with('.')) text.pop_back();
  return text;
}

/// Where the subject begins and ends, and where the question ends.
struct Cut {
  std::size_t subject = 0, behind = 0, end = 0;
};

/// Of several places where `behind` stands, the last one up to which `before_edit` says the same.
std::optional<Cut> cut_at(const std::string& sentence, std::size_t subject, std::string_view behind,
                          const std::string& before_edit) {
  std::optional<Cut> out;
  const std::string border = std::string(behind) + " ";
  for (std::size_t at = sentence.rfind(border); at != std::string::npos && at > subject;
       at = sentence.rfind(border, at - 1)) {
    const Cut cut{subject, at, at + behind.size()};
    if (before_edit.starts_with(sentence.substr(0, cut.end + 1))) return cut;
    if (!out) out = cut;
  }
  return out;
}

std::optional<Cut> cut_of(const std::string& sentence, const std::string& relation,
                          const std::string& before_edit) {
  const auto* known = std::ranges::find(kPhrasings, relation, &Phrasing::relation);
  if (known != std::end(kPhrasings) && sentence.starts_with(known->before)) {
    if (auto cut = cut_at(sentence, known->before.size(), known->behind, before_edit)) return cut;
  }
  std::string words = relation + " of ";
  for (char& c : words)
    c = c == '_' ? ' ' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const std::size_t at = sentence.find(words);
  if (relation.empty() || at == std::string::npos) return std::nullopt;
  return cut_at(sentence, at + words.size(), " is", before_edit);
}

}  // namespace

Fact read_ripple(const Json& record) {
  const Json& edit = record["edit"];
  if (!edit.is_object()) bad_key("edit", "an object", edit.type_name());
  const std::string sentence = sentence_at(edit);
  const Json* original = find_key(edit, "original_fact");
  const std::string before_edit = original == nullptr ? "" : sentence_at(*original);
  const auto subject = optional_text(edit, "subject");
  auto cut = cut_of(sentence, optional_text(edit, "relation").value_or(""), before_edit);
  if (!cut && subject) cut = cut_at(sentence, 0, " is", before_edit);
  if (!cut) {
    bad_key("edit.prompt", "a sentence in the words of its relation, or 'subject' beside it",
            "'" + sentence + "'");
  }
  const std::string asked = sentence.substr(0, cut->end);
  Fact fact;
  fact.subject = subject.value_or(sentence.substr(cut->subject, cut->behind - cut->subject));
  fact.prompt = subject ? template_of(asked, *subject, "edit.prompt")
                        : sentence.substr(0, cut->subject) + "{}" + asked.substr(cut->behind);
  fact.target = sentence.substr(cut->end + 1);
  if (before_edit.starts_with(asked + " ")) fact.truth = before_edit.substr(asked.size() + 1);
  return fact;
}

}  // namespace lancet
