#include "distill/verify/maths.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>

#include "distill/verify/rational.h"

namespace lancet {
namespace {

constexpr std::size_t npos = std::string_view::npos;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }

std::string_view trim(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())))
    text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())))
    text.remove_suffix(1);
  return text;
}

/// What stands between the brace at text[open] and its partner, or nothing.
std::optional<std::string_view> braced(std::string_view text, std::size_t open) {
  int depth = 0;
  for (std::size_t i = open; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == '{') {
      ++depth;
    } else if (text[i] == '}' && --depth == 0) {
      return text.substr(open + 1, i - open - 1);
    }
  }
  return std::nullopt;
}

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

struct Number {
  Rational value;
  bool percent = false;
};

std::optional<Number> number_of(std::string_view text) {
  const bool percent = text.ends_with('%');
  if (percent) text.remove_suffix(1);
  while (text.size() > 2 && text.front() == '(' && text.back() == ')')
    text = text.substr(1, text.size() - 2);
  std::string plain(text);
  plain.erase(
      std::remove_if(plain.begin(), plain.end(), [](char c) { return c == '(' || c == ')'; }),
      plain.end());
  const bool fraction = plain.size() != text.size();
  if (fraction && text.find('/') == npos) return std::nullopt;  // (1)(2) is no number
  const auto value = parse_rational(fraction ? plain : text);
  return value ? std::optional(Number{*value, percent}) : std::nullopt;
}

bool close(const Rational& a, const Rational& b, double tolerance) {
  if (a == b) return true;
  const double scale = std::max(std::abs(a.value()), std::abs(b.value()));
  return tolerance > 0 && std::abs(a.value() - b.value()) <= tolerance * scale;
}

bool numbers_agree(const Number& a, const Number& b, double tolerance) {
  if (close(a.value, b.value, tolerance)) return true;
  if (a.percent == b.percent) return false;
  const auto hundredth = multiply(a.percent ? a.value : b.value, {1, 100});
  return hundredth && close(*hundredth, a.percent ? b.value : a.value, tolerance);
}

struct Elements {
  char open = 0, close = 0;  ///< brackets; 0 for a list without
  std::vector<std::string> parts;
};

/// "(1,2)", "[0,1)", "\{1,2\}", "1, 2": its elements at the top level; fewer than two are no list.
std::optional<Elements> elements_of(std::string_view text) {
  Elements out;
  if (text.starts_with("\\{") && text.ends_with("\\}") && text.size() >= 4) {
    out.open = '{';
    out.close = '}';
    text = text.substr(2, text.size() - 4);
  } else if (text.size() >= 2 && (text.front() == '(' || text.front() == '[') &&
             (text.back() == ')' || text.back() == ']')) {
    out.open = text.front();
    out.close = text.back();
    text = text.substr(1, text.size() - 2);
  }
  int depth = 0;
  out.parts.emplace_back();
  for (const char c : text) {
    if (c == '(' || c == '[' || c == '{') ++depth;
    if (c == ')' || c == ']' || c == '}') --depth;
    if (c == ',' && depth == 0) {
      out.parts.emplace_back();
    } else {
      out.parts.back() += c;
    }
  }
  if (out.parts.size() < 2 && out.open != '{') return std::nullopt;
  return out;
}

bool normalised_agree(std::string_view a, std::string_view b, double tolerance);

/// A matching of `b`'s parts to `a`'s in any order; parts that agree are interchangeable.
bool same_set(const std::vector<std::string>& a, std::vector<std::string> b, double tolerance) {
  for (const std::string& part : a) {
    const auto found = std::find_if(b.begin(), b.end(), [&](const std::string& other) {
      return normalised_agree(part, other, tolerance);
    });
    if (found == b.end()) return false;
    b.erase(found);
  }
  return b.empty();
}

bool normalised_agree(std::string_view a, std::string_view b, double tolerance) {
  if (a.empty() || b.empty()) return false;
  if (a == b) return true;
  const auto x = number_of(a), y = number_of(b);
  if (x && y) return numbers_agree(*x, *y, tolerance);
  const auto p = elements_of(a), q = elements_of(b);
  if (!p || !q || p->open != q->open || p->close != q->close || p->parts.size() != q->parts.size())
    return false;
  if (p->open == '{' || p->open == 0) return same_set(p->parts, q->parts, tolerance);
  for (std::size_t i = 0; i < p->parts.size(); ++i) {
    if (!normalised_agree(p->parts[i], q->parts[i], tolerance)) return false;
  }
  return true;
}

}  // namespace

std::optional<std::string> extract_answer(std::string_view text) {
  auto found = last_boxed(text);
  if (!found) found = after_words(text);
  if (!found) found = last_number(text);
  if (!found || trim(*found).empty()) return std::nullopt;
  return std::string(trim(*found));
}

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

bool answers_agree(std::string_view a, std::string_view b, double tolerance) {
  return normalised_agree(normalise_answer(a), normalise_answer(b), tolerance);
}

std::optional<Vote> majority_vote(const std::vector<std::string>& answers, double tolerance) {
  std::vector<std::pair<std::size_t, std::size_t>> groups;  // first answer, size
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& g) {
      return answers[g.first] == answers[i] ||
             answers_agree(answers[g.first], answers[i], tolerance);
    });
    if (group == groups.end()) {
      groups.emplace_back(i, 1);
    } else {
      ++group->second;
    }
  }
  if (groups.empty()) return std::nullopt;
  const auto best =
      std::max_element(groups.begin(), groups.end(), [](const auto& a, const auto& b) {
        return a.second < b.second;  // the first of the largest
      });
  return Vote{best->first, best->second, groups.size()};
}

}  // namespace lancet
