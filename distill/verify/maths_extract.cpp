// extract_answer of distill/verify/maths.h.

#include <algorithm>
#include <string>

#include "distill/verify/maths.h"
#include "distill/verify/maths_text.h"

namespace lancet {

using namespace maths_text;

namespace {

std::optional<std::string_view> last_boxed(std::string_view text) {
  std::size_t at = npos;
  for (const std::string_view command : {"\\boxed", "\\fbox"}) {
    const std::size_t found = text.rfind(command);
    if (found != npos && (at == npos || found > at)) at = found;
  }
  if (at == npos) return std::nullopt;
  std::size_t open = text.find_first_not_of("\\abcdefghijklmnopqrstuvwxyz", at);
  open = open == npos ? npos : text.find_first_not_of(' ', open);
  if (open == npos) return std::nullopt;
  if (text[open] == '{') return braced(text, open);
  return text.substr(open, text.find_first_of(" $\n", open) - open);  // \boxed 7
}

/// The end of a sentence: a line's end, or a full stop that no digit follows.
std::size_t sentence_end(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') return i;
    if (text[i] == '.' &&
        (i + 1 == text.size() || std::isspace(static_cast<unsigned char>(text[i + 1]))))
      return i;
  }
  return text.size();
}

std::optional<std::string_view> after_words(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::size_t at = npos;
  for (const std::string_view words : {"####", "answer is", "answer:", "answer**:", "answer:**"}) {
    const std::size_t found = lower.rfind(words);
    if (found != npos && (at == npos || found + words.size() > at)) at = found + words.size();
  }
  if (at == npos) return std::nullopt;
  const std::string_view rest = trim(text.substr(at));
  std::string_view answer = trim(rest.substr(0, sentence_end(rest)));
  while (!answer.empty() && (answer.front() == ':' || answer.front() == '*'))
    answer = trim(answer.substr(1));
  while (!answer.empty() && answer.back() == '*')
    answer = trim(answer.substr(0, answer.size() - 1));
  if (answer.empty()) return std::nullopt;
  return answer;
}

/// The last number, with its sign, separators, fraction and per cent sign.
std::optional<std::string_view> last_number(std::string_view text) {
  std::size_t end = text.find_last_of("0123456789");
  if (end == npos) return std::nullopt;
  std::size_t begin = end;
  const auto part_of_number = [&](std::size_t i) {
    if (is_digit(text[i])) return true;
    const bool inside = text[i] == '.' || text[i] == ',' || text[i] == '/';
    return inside && i > 0 && is_digit(text[i - 1]) && is_digit(text[i + 1]);
  };
  while (begin > 0 && part_of_number(begin - 1)) --begin;
  if (begin > 0 && text[begin - 1] == '.') --begin;
  const bool minus = begin > 0 && text[begin - 1] == '-' &&
                     (begin == 1 || (!is_digit(text[begin - 2]) && !is_letter(text[begin - 2])));
  if (minus) --begin;
  if (end + 1 < text.size() && text[end + 1] == '%') ++end;
  return text.substr(begin, end + 1 - begin);
}

}  // namespace

std::optional<std::string> extract_answer(std::string_view text) {
  auto found = last_boxed(text);
  if (!found) found = after_words(text);
  if (!found) found = last_number(text);
  if (!found || trim(*found).empty()) return std::nullopt;
  return std::string(trim(*found));
}

}  // namespace lancet
