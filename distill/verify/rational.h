#pragma once
// Exact fractions of 64-bit parts, and the ways answers write numbers.

#include <cstdint>
#include <optional>
#include <string_view>

namespace lancet {

/// numerator / denominator in lowest terms, denominator > 0.
struct Rational {
  std::int64_t numerator = 0;
  std::int64_t denominator = 1;
  friend bool operator==(const Rational&, const Rational&) = default;
  [[nodiscard]] double value() const noexcept {
    return static_cast<double>(numerator) / static_cast<double>(denominator);
  }
};

/// Nothing when the denominator is 0 or a part does not fit 64 bits.
[[nodiscard]] std::optional<Rational> make_rational(std::int64_t numerator,
                                                    std::int64_t denominator) noexcept;
[[nodiscard]] std::optional<Rational> add(const Rational& a, const Rational& b) noexcept;
[[nodiscard]] std::optional<Rational> multiply(const Rational& a, const Rational& b) noexcept;
[[nodiscard]] std::optional<Rational> divide(const Rational& a, const Rational& b) noexcept;

/// "-3", "1,234.50", ".5", "1.5e-3", "3/4", "-1 1/2": the whole text, or nothing. A comma is taken
/// for a thousands separator only before groups of exactly three digits.
[[nodiscard]] std::optional<Rational> parse_rational(std::string_view text);

}  // namespace lancet
