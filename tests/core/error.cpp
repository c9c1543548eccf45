#include "core/error.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "tests/catch.h"
#include "tests/core/scratch.h"

using namespace lancet;

TEST_CASE("Error: what() names the operation and then the message") {
  const Error error(ErrorKind::kInput, "safetensors", "bad header", "fetch it again");
  CHECK(std::string(error.what()) == "safetensors: bad header");
  CHECK(error.hint() == "fetch it again");
  CHECK(error.exit_code() == 3);
}

TEST_CASE("Error: every kind has its documented exit code and a name of its own") {
  const std::vector<std::pair<ErrorKind, int>> kinds{
      {ErrorKind::kUsage, 2},     {ErrorKind::kInput, 3},        {ErrorKind::kMismatch, 4},
      {ErrorKind::kNumeric, 5},   {ErrorKind::kResource, 6},     {ErrorKind::kGoal, 7},
      {ErrorKind::kInternal, 70}, {ErrorKind::kInterrupted, 130}};
  std::vector<std::string_view> names;
  for (const auto& [kind, code] : kinds) {
    CHECK(Error(kind, "a", "b").exit_code() == code);
    CHECK(std::count(names.begin(), names.end(), error_kind_name(kind)) == 0);
    names.push_back(error_kind_name(kind));
  }
}

TEST_CASE("fail throws an Error that a handler of std::exception catches") {
  CHECK_THROWS_AS(fail(ErrorKind::kGoal, "edit", "probe"), Error);
  CHECK_THROWS_AS(fail(ErrorKind::kGoal, "edit", "probe"), std::exception);
}
