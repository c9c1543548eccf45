#include "cli/checks.h"

#include <cmath>

#include "core/text.h"

namespace lancet {
namespace {

/// `what` completes "expected ...".
CLI::Validator number_that(bool (*fits)(double), const std::string& what,
                           const std::string& description) {
  return {[fits, what](std::string& text) -> std::string {
            double value = 0;
            if (CLI::detail::lexical_cast(text, value) && std::isfinite(value) && fits(value))
              return {};
            return "expected " + what + ", found '" + printable(text, 40) + "'";
          },
          description};
}

}  // namespace

CLI::Validator above_zero() {
  return number_that([](double value) { return value > 0; }, "a number above 0", "above 0");
}

CLI::Validator not_negative() {
  return number_that([](double value) { return value >= 0; }, "a number, 0 or above", "0 or above");
}

CLI::Validator share() {
  return number_that([](double value) { return value > 0 && value <= 1; },
                     "a number above 0 and at most 1", "in (0 - 1]");
}

}  // namespace lancet
