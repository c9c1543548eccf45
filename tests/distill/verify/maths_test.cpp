#include "distill/verify/maths.h"

#include "distill/verify/rational.h"
#include "tests/catch.h"

using namespace lancet;

TEST_CASE(
    "maths: the answer of a text is its last box, else what it calls the answer, else its last "
    "number") {
  const std::pair<const char*, const char*> cases[] = {
      {"so \\boxed{3} or rather \\boxed{\\frac{1}{2}} .", "\\frac{1}{2}"},
      {"\\boxed 7 done", "7"},
      {"\\fbox{x+1}", "x+1"},
      {"\\boxed{\\{1,2\\}}", "\\{1,2\\}"},
      {"He has 3 apples.\n#### 1,234", "1,234"},
      {"The answer is 3.5. It has 2 digits.", "3.5"},
      {"**Answer:** -12 cm\nbecause 7", "-12 cm"},
      {"3 + 4 gives 7, so we get -2.50", "-2.50"},
      {"between 3 and 10-4", "4"},
      {"It is 45%.", "45%"},
      {"about 2/3", "2/3"}};
  for (const auto& [text, wanted] : cases) {
    INFO(text);
    CHECK(extract_answer(text).value_or("nothing") == wanted);
  }
  CHECK_FALSE(extract_answer("no idea"));
  CHECK_FALSE(extract_answer("\\boxed{never closed"));
  CHECK_FALSE(extract_answer(""));
}

TEST_CASE("maths: the same number agrees in all its spellings") {
  const std::pair<const char*, const char*> same[] = {{"0.5", "\\frac{1}{2}"},
                                                      {"\\dfrac12", "1/2"},
                                                      {"1\\frac{1}{2}", "3/2"},
                                                      {"1 1/2", "1.50"},
                                                      {"-\\frac{3}{4}", "-0.75"},
                                                      {"\\frac{-3}{4}", "-3/4"},
                                                      {"1,234,567", "1234567"},
                                                      {"$1,000.00", "1000"},
                                                      {"\\$18", "18 dollars"},
                                                      {"18.", "18"},
                                                      {"12\\text{ cm}", "12"},
                                                      {"12 square meters", "12"},
                                                      {"90^\\circ", "90"},
                                                      {"50\\%", "0.5"},
                                                      {"50%", "50"},
                                                      {"12 percent", "12%"},
                                                      {"x = 5", "5"},
                                                      {"1.5\\times 10^{3}", "1500"},
                                                      {"2 \\cdot 10^-2", "2 \\cdot 10^{-2}"},
                                                      {"3e-2", "0.03"},
                                                      {"(1, \\frac{1}{2})", "(1,0.5)"},
                                                      {"\\left[0, 1\\right)", "[0,1.0)"},
                                                      {"\\{3, 1, 2\\}", "\\{1,2,3\\}"},
                                                      {"1, 2", "2,1"},
                                                      {"2\\sqrt{3}", "2 \\sqrt{3}"},
                                                      {"\\text{Monday}", "Monday"},
                                                      {"007", "7"}};
  for (const auto& [a, b] : same) {
    INFO(a << " and " << b << ": " << normalise_answer(a) << " and " << normalise_answer(b));
    CHECK(answers_agree(a, b));
    CHECK(answers_agree(b, a));
  }
}

TEST_CASE("maths: different answers do not agree") {
  const std::pair<const char*, const char*> different[] = {{"0.333", "1/3"},
                                                           {"12", "1,2"},
                                                           {"(1,2)", "(2,1)"},
                                                           {"[0,1]", "[0,1)"},
                                                           {"50%", "5"},
                                                           {"", ""},
                                                           {"\\{1,1,2\\}", "\\{1,2,2\\}"},
                                                           {"x+1", "x-1"},
                                                           {"1234567", "1234568"},
                                                           {"(1)(2)", "12"},
                                                           {"-3", "3"},
                                                           {"1/0", "0"},
                                                           {"9007199254740993", "9007199254740992"},
                                                           {"12", "12e1"}};
  for (const auto& [a, b] : different) {
    INFO(a << " and " << b << ": " << normalise_answer(a) << " and " << normalise_answer(b));
    CHECK_FALSE(answers_agree(a, b));
    CHECK_FALSE(answers_agree(b, a));
  }
  CHECK(answers_agree("0.333333", "1/3", 1e-5));
  CHECK_FALSE(answers_agree("0.333", "1/3", 1e-5));
}

TEST_CASE("maths: rationals are exact, and what does not fit is no rational") {
  CHECK(parse_rational("3/4") == Rational{3, 4});
  CHECK(parse_rational("-1 1/2") == Rational{-3, 2});
  CHECK(parse_rational("0.1") == Rational{1, 10});
  CHECK(add(*parse_rational("0.1"), *parse_rational("0.2")) == parse_rational("0.3"));
  CHECK(parse_rational("9223372036854775807") == Rational{INT64_MAX, 1});
  for (const char* bad : {"9223372036854775808", "1/0", "", "-", ".", "1,23", "12,345,67", "1e",
                          "1e99", "a", "1//2", "1 2"})
    CHECK_FALSE(parse_rational(bad));
  CHECK_FALSE(multiply({INT64_MAX, 1}, {2, 1}));
  CHECK_FALSE(divide({1, 1}, {0, 1}));
  CHECK(multiply({INT64_MAX, 3}, {3, INT64_MAX}) == Rational{1, 1});
}

TEST_CASE("maths: the majority counts equal answers together, and the first of equal groups wins") {
  const auto vote = majority_vote({"3", "1/2", "0.5", "50%", "3"});
  REQUIRE(vote);
  CHECK(vote->winner == 1);
  CHECK(vote->votes == 3);
  CHECK(vote->groups == 2);
  CHECK(vote->share(5) == Approx(0.6));
  CHECK(majority_vote({"a", "b"})->winner == 0);
  CHECK_FALSE(majority_vote({}));
}
