#include "distill/verify/rational.h"

#include <limits>
#include <numeric>
#include <string>

#include "distill/text/trim.h"

namespace lancet {
namespace {

__extension__ using Wide = __int128;

constexpr Wide kMost = std::numeric_limits<std::int64_t>::max();

std::optional<Rational> reduce(Wide numerator, Wide denominator) noexcept {
  if (denominator == 0) return std::nullopt;
  if (denominator < 0) {
    numerator = -numerator;
    denominator = -denominator;
  }
  Wide a = numerator < 0 ? -numerator : numerator, b = denominator;
  while (b != 0) {
    const Wide rest = a % b;
    a = b;
    b = rest;
  }
  if (a > 1) {
    numerator /= a;
    denominator /= a;
  }
  if (numerator > kMost || numerator < -kMost || denominator > kMost) return std::nullopt;
  return Rational{static_cast<std::int64_t>(numerator), static_cast<std::int64_t>(denominator)};
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Digits with thousands separators taken out, or nothing when the commas stand elsewhere.
std::optional<std::string> plain_digits(std::string_view text) {
  std::string digits;
  const std::size_t first = text.find(',');
  if (first != std::string_view::npos && (first == 0 || first > 3)) return std::nullopt;
  std::size_t group = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == ',') {
      if (i != first && group != 3) return std::nullopt;
      group = 0;
    } else if (is_digit(text[i])) {
      digits += text[i];
      ++group;
    } else {
      return std::nullopt;
    }
  }
  if (first != std::string_view::npos && group != 3) return std::nullopt;
  return digits;
}

std::optional<Rational> power_of_ten(int exponent) {
  Rational power{1, 1};
  for (int i = 0; i < (exponent < 0 ? -exponent : exponent); ++i) {
    const auto next = multiply(power, {10, 1});
    if (!next) return std::nullopt;
    power = *next;
  }
  return exponent < 0 ? divide({1, 1}, power) : power;
}

/// "12", "1,234", ".5", "3.25", "2e-3", without a sign.
std::optional<Rational> parse_decimal(std::string_view text) {
  int exponent = 0;
  if (const std::size_t e = text.find_first_of("eE"); e != std::string_view::npos) {
    std::string_view digits = text.substr(e + 1);
    const bool negative = digits.starts_with('-');
    if (negative || digits.starts_with('+')) digits.remove_prefix(1);
    if (digits.empty() || digits.size() > 2) return std::nullopt;
    for (const char c : digits) {
      if (!is_digit(c)) return std::nullopt;
      exponent = exponent * 10 + (c - '0');
    }
    if (negative) exponent = -exponent;
    text = text.substr(0, e);
  }
  const std::size_t dot = text.find('.');
  const auto whole = plain_digits(text.substr(0, dot));
  std::string_view fraction;
  if (dot != std::string_view::npos) fraction = text.substr(dot + 1);
  while (fraction.ends_with('0')) fraction.remove_suffix(1);
  if (!whole || (whole->empty() && dot == std::string_view::npos) || text == ".")
    return std::nullopt;
  std::int64_t value = 0;
  for (const char c : *whole + std::string(fraction)) {
    if (!is_digit(c) || __builtin_mul_overflow(value, 10, &value) ||
        __builtin_add_overflow(value, c - '0', &value))
      return std::nullopt;
  }
  const auto power =
      power_of_ten(exponent - static_cast<int>(std::min<std::size_t>(fraction.size(), 99)));
  return power ? multiply({value, 1}, *power) : std::nullopt;
}

/// "3/4", "1 1/2" or a decimal, without a sign.
std::optional<Rational> parse_unsigned(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return parse_decimal(text);
  std::string_view top = trim(text.substr(0, slash));
  Rational whole{0, 1};
  if (const std::size_t blank = top.rfind(' '); blank != std::string_view::npos) {
    const auto number = parse_decimal(trim(top.substr(0, blank)));
    if (!number || number->denominator != 1) return std::nullopt;
    whole = *number;
    top = top.substr(blank + 1);
  }
  const auto a = parse_decimal(top), b = parse_decimal(trim(text.substr(slash + 1)));
  if (!a || !b) return std::nullopt;
  const auto part = divide(*a, *b);
  return part ? add(whole, *part) : std::nullopt;
}

}  // namespace

std::optional<Rational> make_rational(std::int64_t numerator, std::int64_t denominator) noexcept {
  return reduce(numerator, denominator);
}

std::optional<Rational> add(const Rational& a, const Rational& b) noexcept {
  // Each product is below 2^126, so that their sum fits.
  return reduce(Wide{a.numerator} * b.denominator + Wide{b.numerator} * a.denominator,
                Wide{a.denominator} * b.denominator);
}

std::optional<Rational> multiply(const Rational& a, const Rational& b) noexcept {
  return reduce(Wide{a.numerator} * b.numerator, Wide{a.denominator} * b.denominator);
}

std::optional<Rational> divide(const Rational& a, const Rational& b) noexcept {
  return reduce(Wide{a.numerator} * b.denominator, Wide{a.denominator} * b.numerator);
}

std::optional<Rational> parse_rational(std::string_view text) {
  text = trim(text);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text = trim(text.substr(1));
  const auto number = parse_unsigned(text);
  return number && negative ? multiply(*number, {-1, 1}) : number;
}

}  // namespace lancet
