#pragma once
// Requests, and what a server's words become as their answer.

#include "distill/teacher/parse.h"
#include "tests/catch.h"

namespace lancet::test {

inline TeacherRequest asked(std::uint64_t max_tokens = 100) {
  TeacherRequest out;
  out.body = {{"max_tokens", max_tokens},
              {"messages", Json::array({{{"role", "user"}, {"content", "hello there"}}})}};
  return out;
}

inline TeacherAnswer answer_of(std::string_view body, const TeacherRequest& request = asked()) {
  const Parsed parsed = parse_answer(body, request);
  INFO(parsed.message);
  REQUIRE(parsed.kind == Parsed::Kind::kAnswer);
  return parsed.answer;
}

}  // namespace lancet::test
