// What servers answer: endings, usage, errors; and the keys that answers are kept by.

#include "distill/teacher/parse.h"
#include "tests/distill/teacher/answers.h"

using namespace lancet;
using namespace lancet::test;

namespace {

std::string reply(std::string_view message, std::string_view finish = "\"stop\"",
                  std::string_view rest = "") {
  return std::string(
             R"({"model":"m-1","system_fingerprint":"fp","choices":[{"index":0,"message":)") +
         std::string(message) + R"(,"finish_reason":)" + std::string(finish) + "}]" +
         std::string(rest) + "}";
}

}  // namespace

TEST_CASE("answers: only a finished text is data; every other ending has its own name") {
  CHECK(answer_of(reply(R"({"content":"hi"})")).ending == Ending::kOk);
  CHECK(answer_of(reply(R"({"content":"hi"})")).model == "m-1");
  CHECK(answer_of(reply(R"({"content":"hi"})", R"("length")")).ending == Ending::kLength);
  CHECK(answer_of(reply(R"({"content":"hi"})", R"("max_tokens")")).ending == Ending::kLength);
  CHECK(answer_of(reply(R"({"content":"h"})", R"("content_filter")")).ending ==
        Ending::kContentFilter);
  const TeacherAnswer refusal = answer_of(reply(R"({"content":null,"refusal":"I will not"})"));
  CHECK(refusal.ending == Ending::kRefusal);
  CHECK(refusal.message == "I will not");
  CHECK(answer_of(reply(R"({"content":null})")).ending == Ending::kEmpty);
  CHECK(answer_of(reply(R"({"content":" \n"})")).ending == Ending::kEmpty);
  const TeacherAnswer tool =
      answer_of(reply(R"({"content":null,"tool_calls":[{"id":"1"}]})", R"("tool_calls")"));
  CHECK(tool.ending == Ending::kOk);
  CHECK(tool.tool_calls.size() == 1);
  // No word on why it stopped: the count of tokens tells.
  const char* at_limit = R"(,"usage":{"prompt_tokens":9,"completion_tokens":100})";
  const char* before = R"(,"usage":{"prompt_tokens":9,"completion_tokens":99})";
  CHECK(answer_of(reply(R"({"content":"hi"})", "null", at_limit)).ending == Ending::kLength);
  CHECK(answer_of(reply(R"({"content":"hi"})", "null", before)).ending == Ending::kOk);
}

TEST_CASE("answers: content in parts, and the Llama API's own shape, are read") {
  CHECK(answer_of(reply(R"({"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]})"))
            .text == "ab");
  const auto llama = answer_of(
      R"({"completion_message":{"role":"assistant","stop_reason":"stop","content":{"type":"text","text":"hey"}}})");
  CHECK(llama.text == "hey");
  CHECK(llama.ending == Ending::kOk);
  CHECK(answer_of(reply(R"({"content":"x","reasoning_content":"because"})")).reasoning ==
        "because");
}

TEST_CASE("answers: an error under status 200 and damaged documents are never data") {
  const Parsed error = parse_answer(R"({"error":{"message":"busy","code":503}})", asked());
  CHECK(error.kind == Parsed::Kind::kServerError);
  CHECK(error.status == 503);
  CHECK(error.message == "busy");
  CHECK(parse_answer(R"({"object":"error","message":"no","code":400})", asked()).status == 400);
  const std::string good = reply(R"({"content":"hi"})");
  for (std::size_t cut = 0; cut < good.size(); ++cut)
    REQUIRE(parse_answer(good.substr(0, cut), asked()).kind == Parsed::Kind::kMalformed);
  for (const char* odd :
       {"[]", "{}", R"({"choices":[]})", R"({"choices":[{"logprobs":3}]})",
        R"({"choices":[{"message":{"content":"x"},"token_ids":["a"]}]})", "<html>"})
    CHECK(parse_answer(odd, asked()).kind == Parsed::Kind::kMalformed);
  CHECK(parse_response("text/html", "<html>", asked()).message.find("text/html") !=
        std::string::npos);
}

TEST_CASE("answers: usage that cannot be true is estimated and says so") {
  const auto usage = [](const char* text) {
    return answer_of(reply(R"({"content":"12345678"})", "\"stop\"", text)).usage;
  };
  const auto good = usage(
      R"(,"usage":{"prompt_tokens":11,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":7}})");
  CHECK_FALSE(good.estimated);
  CHECK(good.prompt == 11);
  CHECK(good.cached == 7);
  for (const char* bad :
       {"", R"(,"usage":null)", R"(,"usage":{"prompt_tokens":-4,"completion_tokens":2})",
        R"(,"usage":{"prompt_tokens":11,"completion_tokens":102})",
        R"(,"usage":{"prompt_tokens":99999999,"completion_tokens":2})",
        R"(,"usage":{"prompt_tokens":"11","completion_tokens":2})"}) {
    const auto found = usage(bad);
    CHECK(found.estimated);
    CHECK(found.completion == 2);  // eight bytes
  }
}

TEST_CASE(
    "keys: equal requests have equal keys whatever the order of their members; others differ") {
  TeacherRequest a = asked(), b;
  b.body = {{"messages", a.body["messages"]}, {"max_tokens", 100}};
  CHECK(request_key("m", a) == request_key("m", b));
  b.sample = 1;
  CHECK(request_key("m", a) != request_key("m", b));
  CHECK(request_key("m", a) != request_key("n", a));
  TeacherRequest c = a;
  c.route = Route::kCompletions;
  CHECK(request_key("m", a) != request_key("m", c));
  CHECK(canonical_json(Json::parse(R"({"b":1,"a":{"d":[1,2],"c":0.1}})")) ==
        R"({"a":{"c":0.1,"d":[1,2]},"b":1})");
  CHECK(wire_body("m", canonical_json(a.body), true).find("include_usage") != std::string::npos);
}
