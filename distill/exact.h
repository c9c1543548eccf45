#pragma once
// Exact arithmetic on what people and models write as numbers: fractions of 127-bit integers. What
// does not fit, or is no number, has no value; nothing is ever rounded.

#include <optional>
#include <string>
#include <string_view>

namespace lancet {

class Rational {
 public:
  __extension__ using Integer = __int128;
  Rational() = default;
  /// numerator / denominator in lowest terms; nothing for 0 in the denominator.
  [[nodiscard]] static std::optional<Rational> make(Integer numerator, Integer denominator = 1);
  [[nodiscard]] bool operator==(const Rational&) const = default;
  [[nodiscard]] Integer numerator() const noexcept { return numerator_; }
  [[nodiscard]] Integer denominator() const noexcept { return denominator_; }
  /// "-7/3", "12".
  [[nodiscard]] std::string text() const;

  // Nothing when the true result does not fit.
  [[nodiscard]] static std::optional<Rational> add(const Rational& a, const Rational& b);
  [[nodiscard]] static std::optional<Rational> multiply(const Rational& a, const Rational& b);
  [[nodiscard]] static std::optional<Rational> divide(const Rational& a, const Rational& b);
  /// b must be a whole number of magnitude at most 1000.
  [[nodiscard]] static std::optional<Rational> power(const Rational& a, const Rational& b);

 private:
  Integer numerator_ = 0, denominator_ = 1;  ///< denominator > 0, no common factor
};

/// The value of an expression: numbers ("1,234.5", "12%", "$3"), + - * / ^ ( ), and LaTeX's \frac,
/// \cdot, \times, \div, \left, \right. Nothing for anything else (names, roots, units).
[[nodiscard]] std::optional<Rational> evaluate_exactly(std::string_view text);

/// The final answer of a solution: inside the last \boxed{}, else after the last "####", else after
/// the last "answer is" or "answer:" up to the end of the sentence. Nothing when there is none.
[[nodiscard]] std::optional<std::string> final_answer(std::string_view solution);

/// Equal as values (a trailing unit word is ignored: "5 apples"), else as texts without blanks,
/// marks of LaTeX and case.
[[nodiscard]] bool same_answer(std::string_view a, std::string_view b);
/// A text that is equal for equal answers: the value, else the normalised text.
[[nodiscard]] std::string answer_class(std::string_view answer);

/// The first "expression = number" in the text that is false, as it stands there. Both sides must
/// have a value, and the right one is taken to the digits it is written with ("10/3 = 3.33" holds).
[[nodiscard]] std::optional<std::string> false_equation(std::string_view text);

}  // namespace lancet
