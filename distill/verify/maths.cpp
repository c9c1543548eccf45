// answers_agree and majority_vote of distill/verify/maths.h.

#include "distill/verify/maths.h"

#include <algorithm>
#include <cmath>

#include "distill/verify/maths_text.h"
#include "distill/verify/rational.h"

namespace lancet {

using maths_text::npos;

namespace {

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
