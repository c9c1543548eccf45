#pragma once
// What an option may hold, checked as it is parsed: the refusal names the option and the range.

#include <CLI/CLI.hpp>

namespace lancet {

/// A finite number above 0.
[[nodiscard]] CLI::Validator above_zero();
/// A finite number, 0 or above.
[[nodiscard]] CLI::Validator not_negative();
/// A number above 0 and at most 1.
[[nodiscard]] CLI::Validator share();

}  // namespace lancet
