#include "distill/exact.h"

#include <algorithm>

namespace lancet {
namespace {

using Integer = Rational::Integer;

/// Magnitudes stay below 2^126, so that a sum of two products of halves cannot be missed.
std::optional<Integer> multiplied(Integer a, Integer b) {
  Integer out = 0;
  if (__builtin_mul_overflow(a, b, &out)) return std::nullopt;
  return out;
}

std::optional<Integer> added(Integer a, Integer b) {
  Integer out = 0;
  if (__builtin_add_overflow(a, b, &out)) return std::nullopt;
  return out;
}

Integer common_factor(Integer a, Integer b) {
  if (a < 0) a = -a;
  while (b != 0) {
    const Integer rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

std::string digits_of(Integer value) {
  if (value == 0) return "0";
  std::string out;
  const bool negative = value < 0;
  while (value != 0) {
    const auto digit = static_cast<int>(value % 10);
    out += static_cast<char>('0' + (digit < 0 ? -digit : digit));
    value /= 10;
  }
  if (negative) out += '-';
  std::reverse(out.begin(), out.end());
  return out;
}

}  // namespace

std::optional<Rational> Rational::make(Integer numerator, Integer denominator) {
  constexpr Integer kMost = (static_cast<Integer>(1) << 126);
  const bool fits =
      numerator > -kMost && numerator < kMost && denominator > -kMost && denominator < kMost;
  if (denominator == 0 || !fits) return std::nullopt;
  if (denominator < 0) {
    numerator = -numerator;
    denominator = -denominator;
  }
  const Integer factor = common_factor(numerator, denominator);
  Rational out;
  out.numerator_ = numerator / factor;
  out.denominator_ = denominator / factor;
  return out;
}

std::string Rational::text() const {
  return denominator_ == 1 ? digits_of(numerator_)
                           : digits_of(numerator_) + "/" + digits_of(denominator_);
}

std::optional<Rational> Rational::add(const Rational& a, const Rational& b) {
  const auto left = multiplied(a.numerator_, b.denominator_);
  const auto right = multiplied(b.numerator_, a.denominator_);
  const auto below = multiplied(a.denominator_, b.denominator_);
  if (!left || !right || !below) return std::nullopt;
  const auto sum = added(*left, *right);
  return sum ? make(*sum, *below) : std::nullopt;
}

std::optional<Rational> Rational::multiply(const Rational& a, const Rational& b) {
  const auto above = multiplied(a.numerator_, b.numerator_);
  const auto below = multiplied(a.denominator_, b.denominator_);
  return above && below ? make(*above, *below) : std::nullopt;
}

std::optional<Rational> Rational::divide(const Rational& a, const Rational& b) {
  const auto inverse = make(b.denominator_, b.numerator_);
  return inverse ? multiply(a, *inverse) : std::nullopt;
}

std::optional<Rational> Rational::power(const Rational& a, const Rational& b) {
  if (b.denominator_ != 1 || b.numerator_ > 1000 || b.numerator_ < -1000) return std::nullopt;
  std::optional<Rational> out = make(1);
  const Integer count = b.numerator_ < 0 ? -b.numerator_ : b.numerator_;
  for (Integer i = 0; i < count && out; ++i) out = multiply(*out, a);
  return out && b.numerator_ < 0 ? divide(*make(1), *out) : out;
}

}  // namespace lancet
