#include "distill/equations.h"

#include <cctype>

namespace lancet {
namespace {

/// Without the marks of text that stand around a formula.
std::string_view unmarked(std::string_view text) {
  const std::size_t from = text.find_first_not_of(" \t\r\n*_`:;$");
  if (from == text.npos) return {};
  return text.substr(from, text.find_last_not_of(" \t\r\n*_`$.:;") - from + 1);
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

/// |a - b| below a unit of the last decimal written (people cut as often as they round); exact
/// without decimals. What cannot be told, because it does not fit, agrees.
bool agree(const Rational& a, const Rational& b, int digits) {
  if (a == b) return true;
  if (digits == 0) return false;
  const auto minus = multiply(b, {-1, 1});
  auto gap = minus ? add(a, *minus) : std::nullopt;
  for (int i = 0; i < digits && gap; ++i) gap = multiply(*gap, {10, 1});
  if (!gap) return true;
  const std::int64_t magnitude = gap->numerator < 0 ? -gap->numerator : gap->numerator;
  return magnitude < gap->denominator;
}

}  // namespace

std::optional<std::string> false_equation(std::string_view text) {
  for (std::size_t at = 0; (at = text.find('=', at)) != text.npos; ++at) {
    std::size_t from = at;
    while (from > 0 && kExpression.find(text[from - 1]) != kExpression.npos) --from;
    std::size_t to = at + 1;
    while (to < text.size() && kExpression.find(text[to]) != kExpression.npos) ++to;
    if (is_piece(text, from, to)) continue;
    const std::string_view left = unmarked(text.substr(from, at - from));
    std::string_view right = unmarked(text.substr(at + 1, to - at - 1));
    while (!right.empty() && (right.back() == ',' || right.back() == '(' || right.back() == '-'))
      right = unmarked(right.substr(0, right.size() - 1));
    const bool computes = left.find_first_of("+-*/^", 1) != std::string::npos;
    const auto a = computes ? evaluate_exactly(left) : std::nullopt;
    const auto b = a ? evaluate_exactly(right) : std::nullopt;
    if (a && b && !agree(*a, *b, decimals(right)))
      return std::string(left) + " = " + std::string(right);
  }
  return std::nullopt;
}

}  // namespace lancet
