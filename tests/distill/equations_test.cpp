#include "distill/equations.h"

#include "core/rng.h"
#include "tests/catch.h"

using namespace lancet;

namespace {

std::string value(std::string_view text) {
  const auto found = evaluate_exactly(text);
  if (!found) return "none";
  const std::string above = std::to_string(found->numerator);
  return found->denominator == 1 ? above : above + "/" + std::to_string(found->denominator);
}

}  // namespace

TEST_CASE("exact: numbers as people and LaTeX write them") {
  CHECK(value("1,234.50") == "2469/2");
  CHECK(value("12%") == "3/25");
  CHECK(value("$3.20") == "16/5");
  CHECK(value("-7/-21") == "1/3");
  CHECK(value("\\frac{3}{4}") == "3/4");
  CHECK(value("-\\dfrac{1}{2} + 2") == "3/2");
  CHECK(value("2^10 - 2^{3}") == "1016");
  CHECK(value("2^-2") == "1/4");
  CHECK(value("2 \\cdot (3 + 4) \\times 5") == "70");
  CHECK(value("0.1 + 0.2") == "3/10");
  CHECK(value("-2^2") == "-4");
  CHECK(value("7 - 2 - 1") == "4");
  CHECK(value("8 / 4 / 2") == "1");
  CHECK(value("1{,}000") == "1000");
}

TEST_CASE("exact: what is no number, or does not fit, has no value") {
  for (const char* text : {"", "x", "1/0", "2^0.5", "1 2", "(1", "1)", "3 apples", "1,23",
                           "\\sqrt{4}", "10^20", "2^5000", "--", "5!", "1e400"})
    CHECK(value(text) == "none");
  CHECK(value(std::string(10000, '(')) == "none");
}

TEST_CASE("exact: sums and products equal those over a common denominator") {
  const Random random(2, "exact");
  for (std::uint64_t i = 0; i < 500; ++i) {
    const auto draw = [&](std::uint64_t k) {
      return static_cast<long long>(random.bits(4 * i + k) % 2001) - 1000;
    };
    const long long a = draw(0), b = draw(1) | 1, c = draw(2), d = draw(3) | 1;
    const auto text = [](long long x) { return "(" + std::to_string(x) + ")"; };
    const std::string left = text(a) + "/" + text(b), right = text(c) + "/" + text(d);
    CHECK(value(left + "+" + right) == value(text(a * d + c * b) + "/" + text(b * d)));
    CHECK(value(left + "*" + right) == value(text(a * c) + "/" + text(b * d)));
  }
}

TEST_CASE("exact: false equations are found, true, rounded and symbolic ones are not") {
  CHECK(false_equation("We get 3 * 4 = 13 apples.").value_or("") == "3 * 4 = 13");
  CHECK(false_equation("10/3 = 3.5").has_value());
  CHECK(false_equation("so 2+2=5.").has_value());
  for (const char* text :
       {"3 * 4 = 12.", "10/3 = 3.33", "2/3 = 0.667", "2/3 = 0.66", "x = 2 + 3", "2x = 7",
        "f(3) = 5", "a + 3 = 4", "= 5", "12 = 12", "3 + 4 \\neq 8", "1 + 1 >= 3", "50% of 20 = 10",
        "a - 3 + 2 = 4", "4 + 4 = 2 x 4", "5 - 2 = 3, and 4 + 4 = 8", "6 = 2 * 3"})
    CHECK(false_equation(text).value_or("").empty());
}
