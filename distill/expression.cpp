// evaluate_exactly of distill/equations.h: a recursive descent over a text of a bounded length.

#include <array>
#include <cctype>

#include "distill/equations.h"

namespace lancet {
namespace {

constexpr Rational kMinusOne{-1, 1};
constexpr std::size_t kLongest = 400;  ///< bytes: also bounds the recursion

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Whole exponents of magnitude at most 1000; nothing when the result does not fit.
std::optional<Rational> power(const Rational& a, const Rational& b) {
  if (b.denominator != 1 || b.numerator > 1000 || b.numerator < -1000) return std::nullopt;
  std::optional<Rational> out = Rational{1, 1};
  const std::int64_t count = b.numerator < 0 ? -b.numerator : b.numerator;
  for (std::int64_t i = 0; i < count && out; ++i) out = multiply(*out, a);
  return out && b.numerator < 0 ? divide({1, 1}, *out) : out;
}

/// LaTeX and typographic signs as ASCII.
std::string plain(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 18> kSigns{
      {{"\\left", ""},
       {"\\right", ""},
       {"\\cdot", "*"},
       {"\\times", "*"},
       {"\\div", "/"},
       {"\\dfrac", "\\frac"},
       {"\\tfrac", "\\frac"},
       {"\\,", ""},
       {"\\!", ""},
       {"\\$", ""},
       {"\\%", "%"},
       {"\xC3\x97", "*"},
       {"\xC3\xB7", "/"},
       {"\xE2\x88\x92", "-"},
       {"\xC2\xB7", "*"},
       {"{,}", ""},
       {"**", "^"},
       {"\\ ", " "}}};
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    bool found = false;
    for (const auto& [sign, put] : kSigns) {
      if (!text.substr(at).starts_with(sign)) continue;
      out += put;
      at += sign.size();
      found = true;
      break;
    }
    if (!found) out += text[at++];
  }
  return out;
}

class Parser {
 public:
  explicit Parser(std::string text) : text_(std::move(text)) {}

  std::optional<Rational> whole() {
    auto value = sum();
    skip();
    return value && at_ == text_.size() ? value : std::nullopt;
  }

 private:
  std::string text_;
  std::size_t at_ = 0;

  void skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '$')) ++at_;
  }
  bool take(char c) {
    skip();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  std::optional<Rational> sum() {
    auto out = product();
    while (out) {
      const bool plus = take('+');
      if (!plus && !take('-')) return out;
      const auto right = product();
      if (!right) return std::nullopt;
      const auto signed_right = plus ? right : multiply(*right, kMinusOne);
      out = signed_right ? add(*out, *signed_right) : std::nullopt;
    }
    return out;
  }

  std::optional<Rational> product() {
    auto out = signed_power();
    while (out) {
      const bool times = take('*');
      if (!times && !take('/')) return out;
      const auto right = signed_power();
      if (!right) return std::nullopt;
      out = times ? multiply(*out, *right) : divide(*out, *right);
    }
    return out;
  }

  std::optional<Rational> signed_power() {
    if (take('-')) {
      const auto value = signed_power();
      return value ? multiply(*value, kMinusOne) : std::nullopt;
    }
    if (take('+')) return signed_power();
    const auto base = atom();
    if (!base || !take('^')) return base;
    const auto exponent = text_.substr(at_).starts_with("{") ? braced() : signed_power();
    return exponent ? power(*base, *exponent) : std::nullopt;
  }

  std::optional<Rational> braced() {
    if (!take('{')) return std::nullopt;
    auto value = sum();
    return value && take('}') ? value : std::nullopt;
  }

  std::optional<Rational> atom() {
    skip();
    if (take('(')) {
      auto value = sum();
      return value && take(')') ? value : std::nullopt;
    }
    if (text_.substr(at_).starts_with("\\frac")) {
      at_ += 5;
      const auto above = braced();
      const auto below = above ? braced() : std::nullopt;
      return below ? divide(*above, *below) : std::nullopt;
    }
    auto value = number();
    if (value && take('%')) value = divide(*value, Rational{100, 1});
    return value;
  }

  /// Whether a comma at `at` parts thousands: three digits follow and no fourth.
  [[nodiscard]] bool parts_thousands(std::size_t at) const {
    const auto digit = [this](std::size_t place) {
      return place < text_.size() && is_digit(text_[place]);
    };
    return text_[at] == ',' && digit(at + 1) && digit(at + 2) && digit(at + 3) && !digit(at + 4);
  }

  std::optional<Rational> number() {
    skip();
    std::optional<Rational> value = Rational{};
    std::int64_t scale = 1;
    bool any = false, point = false;
    for (; at_ < text_.size() && value; ++at_) {
      const char c = text_[at_];
      if (is_digit(c)) {
        const auto shifted = multiply(*value, Rational{10, 1});
        value = shifted ? add(*shifted, Rational{c - '0', 1}) : std::nullopt;
        if (point && __builtin_mul_overflow(scale, 10, &scale)) return std::nullopt;
        any = true;
      } else if (c == '.' && !point && at_ + 1 < text_.size() && is_digit(text_[at_ + 1])) {
        point = true;
      } else if (point || !any || !parts_thousands(at_)) {
        break;
      }
    }
    if (!any || !value) return std::nullopt;
    return divide(*value, {scale, 1});
  }
};

}  // namespace

std::optional<Rational> evaluate_exactly(std::string_view text) {
  if (text.size() > kLongest) return std::nullopt;
  return Parser(plain(text)).whole();
}

}  // namespace lancet
