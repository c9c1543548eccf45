// Oniguruma's dialect in PCRE2's. Both read most of a pattern alike; the rest is written out: what
// \s, \w and \h contain, classes in classes, and intersections of classes.

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "core/text.h"
#include "formats/tokenizer/regex.h"
#include "formats/tokenizer/unicode.h"

namespace lancet {
namespace {

constexpr int kClassDepth = 16;
constexpr std::string_view kAnything = "(?s:.)";

// White_Space without U+180E, which PCRE2 counts in.
constexpr std::string_view kSpaces =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kHexDigits = "0-9A-Fa-f";

// A bare \w of Oniguruma has these superscripts and fractions, [\w] has not.
constexpr std::string_view kBareWordExtras = R"(\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";

std::string word_members(bool in_class) {
  std::string members = R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc})" + regex_word_extras();
  if (!in_class) members += kBareWordExtras;
  return members;
}

/// Members of the class that `\letter` stands for in Oniguruma where PCRE2 means another; empty for
/// others.
std::string members_of(char letter, bool in_class) {
  switch (letter) {
    case 's':
    case 'S':
      return std::string(kSpaces);
    case 'w':
    case 'W':
      return word_members(in_class);
    case 'h':
    case 'H':
      return std::string(kHexDigits);
    default:
      return {};
  }
}

/// A class under construction: single members, and parts that need an expression of their own.
struct ClassUnion {
  std::string members;             ///< as they stand between [ and ]
  std::vector<std::string> parts;  ///< expressions that match one character each

  /// An expression that matches one character of the union.
  [[nodiscard]] std::string expression() const {
    if (parts.empty()) return members.empty() ? "(?!)" : "[" + members + "]";
    std::string out = members.empty() ? "(?:" : "(?:[" + members + "]|";
    for (std::size_t i = 0; i < parts.size(); ++i) out += (i > 0 ? "|" : "") + parts[i];
    return out + ")";
  }
};

/// Walks the pattern once, copying what both dialects read alike.
class Translator {
 public:
  Translator(std::string_view pattern, const Where& where) : pattern_(pattern), where_(where) {}

  std::string run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        out_ += escape();
      } else if (c == '[') {
        ++at_;
        const ClassUnion found = read_class(0);
        out_ += found.expression();
      } else {
        out_ += c;
        ++at_;
      }
    }
    return std::move(out_);
  }

 private:
  /// Outside of a class.
  std::string escape() {
    const char letter = at_ + 1 < pattern_.size() ? pattern_[at_ + 1] : '\0';
    if (letter == 'p' || letter == 'P') return property();
    const std::string members = members_of(letter, false);
    const std::string_view copied = pattern_.substr(at_, 2);
    at_ += 2;
    if (members.empty()) return std::string(copied);
    return (letter >= 'A' && letter <= 'Z' ? "[^" : "[") + members + "]";
  }

  /// \p{...}. A script has the characters of that script alone; PCRE2 would add those shared with
  /// others.
  std::string property() {
    const std::size_t end = pattern_.find('}', at_);
    if (at_ + 2 >= pattern_.size() || pattern_[at_ + 2] != '{' || end == pattern_.npos) {
      at_ = std::min(at_ + 2, pattern_.size());
      return std::string(pattern_.substr(at_ - 2, 2));
    }
    std::string out(pattern_.substr(at_, 3));
    std::string_view name = pattern_.substr(at_ + 3, end - at_ - 3);
    at_ = end + 1;
    if (name.starts_with('^')) {
      out += '^';
      name.remove_prefix(1);
    }
    if (is_script(name)) out += "sc:";
    return out.append(name) + "}";
  }

  /// After '['; ends behind the closing ']'. The result is one union: a negated or intersected
  /// class becomes a part of it.
  ClassUnion read_class(int depth) {
    if (depth > kClassDepth) where_.fail_input("classes of the pattern are nested too deep");
    const bool negated = peek("^");
    if (negated) ++at_;
    std::vector<ClassUnion> factors(1);  // of an intersection
    if (peek("]")) add_literal(factors.back());
    while (!peek("]")) {
      if (at_ >= pattern_.size()) where_.fail_input("a class of the pattern has no end");
      if (peek("&&")) {
        at_ += 2;
        factors.emplace_back();
      } else {
        add_member(factors.back(), depth);
      }
    }
    ++at_;
    return combined(factors, negated);
  }

  static ClassUnion combined(const std::vector<ClassUnion>& factors, bool negated) {
    if (factors.size() == 1 && !negated) return factors[0];
    ClassUnion out;
    if (factors.size() == 1 && factors[0].parts.empty()) {
      out.parts.push_back("[^" + factors[0].members + "]");
      return out;
    }
    std::string all;
    for (std::size_t i = 0; i + 1 < factors.size(); ++i)
      all += "(?=" + factors[i].expression() + ")";
    all += factors.back().expression();
    out.parts.push_back(negated ? fmt::format("(?:(?!{}){})", all, kAnything) : "(?:" + all + ")");
    return out;
  }

  void add_member(ClassUnion& out, int depth) {
    if (peek("[:")) return add_posix(out);
    if (peek("[")) {
      ++at_;
      ClassUnion inner = read_class(depth + 1);
      protect_dash(out.members);
      protect_dash(inner.members);
      out.members += inner.members;
      out.parts.insert(out.parts.end(), inner.parts.begin(), inner.parts.end());
      return;
    }
    if (!peek("\\")) return add_literal(out);
    const char letter = at_ + 1 < pattern_.size() ? pattern_[at_ + 1] : '\0';
    if (letter == 'p' || letter == 'P') {
      out.members += property();
      return;
    }
    const std::string members = members_of(letter, true);
    if (members.empty()) {
      out.members += pattern_.substr(at_, 2);
    } else if (letter >= 'A' && letter <= 'Z') {
      out.parts.push_back("[^" + members + "]");
    } else {
      out.members += members;
    }
    at_ += 2;
  }

  /// A dash at the end stays a member when others follow: no range.
  static void protect_dash(std::string& members) {
    if (members.ends_with('-') && !members.ends_with("\\-"))
      members.insert(members.size() - 1, 1, '\\');
  }

  void add_posix(ClassUnion& out) {
    const std::size_t end = pattern_.find(":]", at_);
    if (end == pattern_.npos) where_.fail_input("a class of the pattern has no end");
    out.members += pattern_.substr(at_, end + 2 - at_);
    at_ = end + 2;
  }

  /// One character that stands for itself; where PCRE2 would read it otherwise, escaped.
  void add_literal(ClassUnion& out) {
    const char c = pattern_[at_++];
    if (c == ']' || (c == '^' && out.members.empty())) out.members += '\\';
    out.members += c;
  }

  [[nodiscard]] bool peek(std::string_view text) const {
    return pattern_.substr(std::min(at_, pattern_.size())).starts_with(text);
  }

  std::string_view pattern_;
  const Where& where_;
  std::string out_;
  std::size_t at_ = 0;
};

}  // namespace

std::string translate_pattern(std::string_view pattern, const Where& where) {
  return Translator(pattern, where).run();
}

}  // namespace lancet
