#pragma once
// Arithmetic written in running text, checked exactly.

#include <optional>
#include <string>
#include <string_view>

#include "distill/verify/rational.h"

namespace lancet {

/// The value of an expression: numbers ("1,234.5", "12%", "$3"), + - * / ^ ( ), and LaTeX's \frac,
/// \cdot, \times, \div, \left, \right. Nothing for anything else (names, roots, units) and for what
/// does not fit; nothing is ever rounded.
[[nodiscard]] std::optional<Rational> evaluate_exactly(std::string_view text);

/// The first "expression = number" in the text that is false, as it stands there. Both sides must
/// have a value, and the right one is taken to the digits it is written with ("10/3 = 3.33" holds).
[[nodiscard]] std::optional<std::string> false_equation(std::string_view text);

}  // namespace lancet
