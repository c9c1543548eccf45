// normalise_answer of distill/verify/maths.h: LaTeX, units and names to plain numbers and words.

#include <algorithm>
#include <string>

#include "distill/verify/maths.h"
#include "distill/verify/maths_text.h"

namespace lancet {

using namespace maths_text;

namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != npos; at += to.size())
    text.replace(at, from.size(), to);
}

/// \text{cm}, \mathrm{...}: the units go, words that are the whole answer stay.
void open_text(std::string& text) {
  for (const std::string_view command :
       {"\\text", "\\mathrm", "\\textbf", "\\mbox", "\\mathbf", "\\operatorname"}) {
    for (std::size_t at = 0; (at = text.find(std::string(command) + "{", at)) != npos;) {
      const auto inside = braced(text, at + command.size());
      if (!inside) return;
      const std::string words(trim(*inside));
      const std::size_t length = command.size() + inside->size() + 2;
      text.replace(at, length, at == 0 ? words : " " + words);
      at += words.size();
    }
  }
}

/// The argument of a LaTeX command at `at`: braced, or one character. Advances `at` past it.
std::optional<std::string> argument(std::string_view text, std::size_t& at) {
  if (at >= text.size()) return std::nullopt;
  if (text[at] != '{') return std::string(1, text[at++]);
  const auto inside = braced(text, at);
  if (!inside) return std::nullopt;
  at += inside->size() + 2;
  return std::string(*inside);
}

/// Whether `text` is one number or name, which needs no brackets in a fraction.
bool is_plain(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return is_digit(c) || is_letter(c) || c == '.';
  });
}

std::string bracketed(const std::string& text) { return is_plain(text) ? text : "(" + text + ")"; }

/// \frac{a}{b}, \frac12, \dfrac, \tfrac -> a/b; a mixed number keeps a blank before it.
void open_fractions(std::string& text) {
  replace_all(text, "\\dfrac", "\\frac");
  replace_all(text, "\\tfrac", "\\frac");
  replace_all(text, "\\cfrac", "\\frac");
  for (std::size_t at; (at = text.rfind("\\frac")) != npos;) {  // innermost first
    std::size_t next = at + 5;
    while (next < text.size() && text[next] == ' ') ++next;
    const auto top = argument(text, next);
    const auto bottom = top ? argument(text, next) : std::nullopt;
    if (!bottom) return;
    const bool mixed = at > 0 && is_digit(text[at - 1]);
    text.replace(at, next - at, (mixed ? " " : "") + bracketed(*top) + "/" + bracketed(*bottom));
  }
}

/// a \times 10^{n} and a \cdot 10^n -> aen.
void open_scientific(std::string& text) {
  replace_all(text, "\\cdot", "\\times");
  replace_all(text, "×", "\\times");
  for (std::size_t at = 0; (at = text.find("\\times", at)) != npos; ++at) {
    std::size_t next = text.find_first_not_of(' ', at + 6);
    if (next == npos || text.compare(next, 3, "10^") != 0) continue;
    next += 3;
    const auto power = argument(text, next);
    if (!power) return;
    std::string digits = *power;
    while (digits.size() == 1 && next < text.size() && is_digit(text[next])) digits += text[next++];
    while (at > 0 && text[at - 1] == ' ') --at;
    text.replace(at, next - at, "e" + digits);
  }
}

/// "12 square cm" -> "12"; "12 apples." -> "12". Only after a number, and only plain words.
void drop_units(std::string& text) {
  std::size_t end = 0;
  while (end < text.size() &&
         (is_digit(text[end]) || std::string_view("+-.,/ e").find(text[end]) != npos))
    ++end;
  while (end > 0 && !is_digit(text[end - 1])) --end;
  if (end == 0) return;
  std::string_view rest = trim(std::string_view(text).substr(end));
  const bool percent = rest.starts_with("percent");
  const bool unit = !rest.empty() && is_letter(rest.front()) &&
                    rest.find_first_of("=+*()[]") == npos &&
                    (text[end] == ' ' || rest.size() > 1) &&
                    (rest.front() != 'e' || rest.size() < 2 || !is_digit(rest[1])) &&
                    rest.find_first_of("0123456789") == npos;
  if (percent) {
    text.replace(end, npos, "%");
  } else if (unit) {
    text.resize(end);
  }
}

/// "x = 5" -> "5": one letter, or a word without blanks, before the only equals sign.
void drop_name(std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == npos || text.find('=', equals + 1) != npos) return;
  const std::string_view name = trim(std::string_view(text).substr(0, equals));
  if (!name.empty() && name.size() <= 4 && is_letter(name.front()) && name.find(' ') == npos)
    text = std::string(trim(std::string_view(text).substr(equals + 1)));
}

/// Blanks go, but for the one inside a mixed number.
std::string without_blanks(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != ' ') {
      out += text[i];
    } else if (!out.empty() && is_digit(out.back()) && i + 1 < text.size() &&
               is_digit(text[i + 1])) {
      out += ' ';
    }
  }
  return out;
}

}  // namespace

std::string normalise_answer(std::string_view answer) {
  std::string text(trim(answer));
  for (const std::string_view gone : {"\\left", "\\right", "\\!", "\\,", "\\;", "\\displaystyle",
                                      "^\\circ", "^{\\circ}", "°", "\\(", "\\)", "\\[", "\\]"})
    replace_all(text, gone, "");
  replace_all(text, "\\$", "");
  replace_all(text, "$", "");
  replace_all(text, "€", "");
  replace_all(text, "£", "");
  replace_all(text, "\\%", "%");
  replace_all(text, "−", "-");
  replace_all(text, "~", " ");
  replace_all(text, "\\ ", " ");
  open_text(text);
  open_fractions(text);
  open_scientific(text);
  text = std::string(trim(text));
  if (text.ends_with('.')) text.pop_back();
  drop_name(text);
  drop_units(text);
  return without_blanks(trim(text));
}

}  // namespace lancet
