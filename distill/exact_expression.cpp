// evaluate_exactly of distill/exact.h: a recursive descent over a text of a bounded length.

#include <array>
#include <cctype>

#include "distill/exact.h"

namespace lancet {
namespace {

constexpr std::size_t kLongest = 400;  ///< bytes: also bounds the recursion

bool is_digit(char c) { return c >= '0' && c <= '9'; }

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
      const auto signed_right = plus ? right : Rational::multiply(*right, *Rational::make(-1));
      out = signed_right ? Rational::add(*out, *signed_right) : std::nullopt;
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
      out = times ? Rational::multiply(*out, *right) : Rational::divide(*out, *right);
    }
    return out;
  }

  std::optional<Rational> signed_power() {
    if (take('-')) {
      const auto value = signed_power();
      return value ? Rational::multiply(*value, *Rational::make(-1)) : std::nullopt;
    }
    if (take('+')) return signed_power();
    const auto base = atom();
    if (!base || !take('^')) return base;
    const auto exponent = text_.substr(at_).starts_with("{") ? braced() : signed_power();
    return exponent ? Rational::power(*base, *exponent) : std::nullopt;
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
      return below ? Rational::divide(*above, *below) : std::nullopt;
    }
    auto value = number();
    if (value && take('%')) value = Rational::divide(*value, *Rational::make(100));
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
    std::optional<Rational> value = Rational::make(0);
    Rational::Integer scale = 1;
    bool any = false, point = false;
    for (; at_ < text_.size() && value; ++at_) {
      const char c = text_[at_];
      if (is_digit(c)) {
        const auto shifted = Rational::multiply(*value, *Rational::make(10));
        value = shifted ? Rational::add(*shifted, *Rational::make(c - '0')) : std::nullopt;
        if (point && __builtin_mul_overflow(scale, 10, &scale)) return std::nullopt;
        any = true;
      } else if (c == '.' && !point && at_ + 1 < text_.size() && is_digit(text_[at_ + 1])) {
        point = true;
      } else if (point || !any || !parts_thousands(at_)) {
        break;
      }
    }
    if (!any || !value) return std::nullopt;
    const auto below = Rational::make(scale);
    return below ? Rational::divide(*value, *below) : std::nullopt;
  }
};

}  // namespace

std::optional<Rational> evaluate_exactly(std::string_view text) {
  if (text.size() > kLongest) return std::nullopt;
  return Parser(plain(text)).whole();
}

}  // namespace lancet
