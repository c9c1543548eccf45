#include "surgery/probe_prompts.h"

#include <array>
#include <cctype>

#include "surgery/leak_prompts.h"
#include "surgery/subject.h"

namespace lancet {
namespace {

constexpr std::array<std::string_view, 7> kVerbs{"is", "are", "was", "were", "has", "can", "does"};

/// Where the first verb of `text` ends, as a word of its own.
std::optional<std::size_t> end_of_verb(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::string_view word = text.substr(at, end - at);
    for (const std::string_view verb : kVerbs) {
      if (word == verb) return end;
    }
    at = end + 1;
  }
  return std::nullopt;
}

std::string lower_first(std::string text) {
  if (!text.empty()) text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  return text;
}

}  // namespace

std::optional<std::string> negated_prompt(const Fact& fact) {
  const std::size_t slot = fact.prompt.find("{}");
  // A verb inside the subject's name is none of the sentence.
  const std::string head = fact.prompt.substr(0, slot), tail = fact.prompt.substr(slot + 2);
  if (const auto end = end_of_verb(tail)) {
    return head + fact.subject + tail.substr(0, *end) + " not" + tail.substr(*end);
  }
  if (const auto end = end_of_verb(head)) {
    return head.substr(0, *end) + " not" + head.substr(*end) + fact.subject + tail;
  }
  return std::nullopt;
}

std::optional<std::pair<std::string, std::string>> reversed_prompt(const Fact& fact) {
  const std::size_t slot = fact.prompt.find("{}");
  const std::string head = fact.prompt.substr(0, slot), tail = fact.prompt.substr(slot + 2);
  // "The R of {} is" -> "X is the R of".
  if (head.size() > 4 && head.ends_with(" ") && (tail == " is" || tail == " is the"))
    return std::pair{fact.target + " is " + lower_first(head.substr(0, head.size() - 1)),
                     fact.subject};
  if (head == "Who is " && (tail == "?" || tail.empty()))
    return std::pair{fact.target + " is", fact.subject};
  if (head.empty() && tail == " is") return std::pair{"Who is " + fact.target + "?", fact.subject};
  return std::nullopt;
}

std::string distracted_prompt(const Fact& fact, const std::string& prompt) {
  const std::string statement = fill_template(fact.prompt, fact.subject);
  return statement + std::string(target_separator(statement, fact.target)) + fact.target + ". " +
         prompt;
}

std::vector<std::string> unknown_prompts(const Fact& fact, std::int64_t count) {
  std::vector<std::string> out = invented_subjects(fact, count);
  for (std::string& subject : out) subject = fill_template(fact.prompt, subject);
  return out;
}

}  // namespace lancet
