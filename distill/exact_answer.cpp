// Final answers and equations in running text (distill/exact.h).

#include <algorithm>
#include <array>
#include <cctype>

#include "distill/exact.h"

namespace lancet {
namespace {

std::string trimmed(std::string_view text) {
  constexpr std::string_view kMarks = " \t\r\n*_`$.:;";
  const std::size_t from = text.find_first_not_of(" \t\r\n*_`:;$");
  if (from == text.npos) return {};
  return std::string(text.substr(from, text.find_last_not_of(kMarks) - from + 1));
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

/// What stands in the braces that open at `at`.
std::optional<std::string> in_braces(std::string_view text, std::size_t at) {
  int depth = 0;
  for (std::size_t i = at; i < text.size(); ++i) {
    if (text[i] == '{') ++depth;
    if (text[i] == '}' && --depth == 0) return std::string(text.substr(at + 1, i - at - 1));
  }
  return std::nullopt;
}

/// Up to the end of the line or sentence; a full stop between digits is no end.
std::string_view sentence(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool stop = text[i] == '.' && (i + 1 == text.size() || text[i + 1] == ' ' ||
                                         text[i + 1] == '\n' || text[i + 1] == '\r');
    if (text[i] == '\n' ? i > 0 && !trimmed(text.substr(0, i)).empty() : stop)
      return text.substr(0, i);
  }
  return text;
}

/// Blanks, LaTeX marks and case gone.
std::string bare(std::string_view text) {
  std::string out = lower(text);
  for (const char* mark : {"\\text", "\\mathrm", "\\left", "\\right", "\\!", "\\,", "\\ "}) {
    for (std::size_t at; (at = out.find(mark)) != out.npos;)
      out.erase(at, std::string(mark).size());
  }
  std::erase_if(out, [](char c) {
    return c == ' ' || c == '$' || c == '{' || c == '}' || c == '\\' || c == '\n' || c == '\t';
  });
  while (!out.empty() && (out.back() == '.' || out.back() == ',')) out.pop_back();
  return out;
}

/// "5 apples" -> 5; a name alone has no value.
std::optional<Rational> value_of(std::string_view answer) {
  const std::string text = trimmed(answer);
  if (auto value = evaluate_exactly(text)) return value;
  const auto is_letter = [](char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; };
  const std::size_t blank = text.find(' ');
  if (blank == text.npos) return std::nullopt;
  const bool words = std::all_of(text.begin() + static_cast<std::ptrdiff_t>(blank), text.end(),
                                 [&](char c) { return c == ' ' || is_letter(c); });
  return words ? evaluate_exactly(text.substr(0, blank)) : std::nullopt;
}

constexpr std::string_view kExpression = "0123456789.,+-*/^()% $";

/// Whether [from, to) is only a piece of a longer formula: a letter, a bracket or another sign
/// touches it, it begins with an operator that has something before it, or a lone letter follows
/// ("2 x").
bool is_piece(std::string_view text, std::size_t from, std::size_t to) {
  const auto letter = [&text](std::size_t at) {
    return at < text.size() && std::isalpha(static_cast<unsigned char>(text[at])) != 0;
  };
  const auto sign = [&text](std::size_t at) {
    return at < text.size() &&
           std::string_view("\\{}[]_<>=!").find(text[at]) != std::string_view::npos;
  };
  const bool blank_first = text[from] == ' ', blank_last = text[to - 1] == ' ';
  if (from > 0 && (sign(from - 1) || (!blank_first && letter(from - 1)))) return true;
  const std::size_t first = text.find_first_not_of(' ', from);
  const bool hangs = std::string_view("+-*/^").find(text[first]) != std::string_view::npos;
  if (hangs && from > 0 && letter(from - 1)) return true;
  if (sign(to) || (!blank_last && letter(to))) return true;
  return letter(to) && !letter(to + 1);
}

/// Digits after the point of the number at the end or beginning of an equation's side.
int decimals(std::string_view number) {
  const std::size_t point = number.find('.');
  if (point == number.npos) return 0;
  int count = 0;
  for (std::size_t i = point + 1;
       i < number.size() && std::isdigit(static_cast<unsigned char>(number[i])); ++i)
    ++count;
  return count;
}

/// |a - b| below a unit of the last decimal written; exact without decimals.
bool agree(const Rational& a, const Rational& b, int digits) {
  if (a == b) return true;
  if (digits == 0) return false;
  const auto minus = Rational::multiply(b, *Rational::make(-1));
  const auto gap = minus ? Rational::add(a, *minus) : std::nullopt;
  Rational::Integer unit = 2;
  for (int i = 0; i < std::min(digits, 30); ++i) unit *= 10;
  if (!gap) return true;  // beyond what can be told
  const auto scaled = Rational::multiply(*gap, *Rational::make(unit));
  if (!scaled) return true;
  const auto magnitude = scaled->numerator() < 0 ? -scaled->numerator() : scaled->numerator();
  // Less than a unit either way: people cut as often as they round.
  return magnitude < 2 * scaled->denominator();
}

}  // namespace

std::optional<std::string> final_answer(std::string_view solution) {
  if (const std::size_t box = solution.rfind("\\boxed{"); box != solution.npos)
    return in_braces(solution, box + 6);
  if (const std::size_t mark = solution.rfind("####"); mark != solution.npos) {
    const std::string out = trimmed(sentence(solution.substr(mark + 4)));
    if (!out.empty()) return out;
  }
  const std::string folded = lower(solution);
  for (const std::string_view phrase : {"answer is", "answer:"}) {
    const std::size_t at = folded.rfind(phrase);
    if (at == folded.npos) continue;
    const std::string out = trimmed(sentence(solution.substr(at + phrase.size())));
    if (!out.empty()) return out;
  }
  return std::nullopt;
}

std::string answer_class(std::string_view answer) {
  const auto value = value_of(answer);
  return value ? "=" + value->text() : bare(answer);
}

bool same_answer(std::string_view a, std::string_view b) {
  return answer_class(a) == answer_class(b);
}

std::optional<std::string> false_equation(std::string_view text) {
  for (std::size_t at = 0; (at = text.find('=', at)) != text.npos; ++at) {
    std::size_t from = at;
    while (from > 0 && kExpression.find(text[from - 1]) != kExpression.npos) --from;
    std::size_t to = at + 1;
    while (to < text.size() && kExpression.find(text[to]) != kExpression.npos) ++to;
    if (is_piece(text, from, to)) continue;
    const std::string left = trimmed(text.substr(from, at - from));
    std::string right = trimmed(text.substr(at + 1, to - at - 1));
    while (!right.empty() && (right.back() == ',' || right.back() == '(' || right.back() == '-'))
      right = trimmed(right.substr(0, right.size() - 1));
    const bool computes = left.find_first_of("+-*/^", 1) != std::string::npos;
    const auto a = computes ? evaluate_exactly(left) : std::nullopt;
    const auto b = a ? evaluate_exactly(right) : std::nullopt;
    if (a && b && !agree(*a, *b, decimals(right))) return left + " = " + right;
  }
  return std::nullopt;
}

}  // namespace lancet
