// Server-sent events, and answers that come in chunks.

#include "core/rng.h"
#include "distill/teacher/parse.h"
#include "distill/teacher/sse.h"
#include "tests/distill/teacher/answers.h"

using namespace lancet;
using namespace lancet::test;

TEST_CASE("events: any cut of the bytes gives the same events") {
  const std::string text =
      "\xEF\xBB\xBF: comment\r\nid: 1\r\ndata: one\r\ndata:two\n\nevent: error\rdata: x\r\r"
      "data\n\nid: 2\ndata: [DONE]\n\n";
  EventParser whole;
  const auto wanted = whole.feed(text);
  REQUIRE(wanted.size() == 4);
  CHECK(wanted[0].data == "one\ntwo");
  CHECK(wanted[0].id == "1");
  CHECK(wanted[1].type == "error");
  CHECK(wanted[2].data.empty());
  CHECK(wanted[3].data == "[DONE]");
  const Random random(9, "cuts");
  for (std::uint32_t round = 0; round < 300; ++round) {
    EventParser parser;
    std::vector<ServerEvent> got;
    std::uint64_t draw = round * 1000;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t step = random.bits(draw++) % 7;
      for (auto& each : parser.feed(text.substr(at, step))) got.push_back(each);
      at += step;
    }
    REQUIRE(got.size() == wanted.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      CHECK(got[i].data == wanted[i].data);
      CHECK(got[i].type == wanted[i].type);
      CHECK(got[i].id == wanted[i].id);
    }
  }
}

namespace {

const std::string kStream =
    R"(data: {"model":"m","choices":[{"delta":{"role":"assistant","content":null}}]}

data: {"choices":[{"delta":{"content":"Hel"},"logprobs":{"content":[{"id":1,"token":"Hel","logprob":-1,"top_logprobs":[]}]}}]}

data: {"choices":[{"delta":{"content":"lo"},"logprobs":{"content":[{"id":2,"token":"lo","logprob":-2,"top_logprobs":[]}]}}]}

data: {"choices":[{"delta":{},"finish_reason":"stop"}]}

data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":3}}

data: [DONE]

)";

}  // namespace

TEST_CASE("streams: chunks make the answer that would have come at once; a cut stream makes none") {
  const Parsed parsed = parse_stream(kStream, asked());
  INFO(parsed.message);
  REQUIRE(parsed.kind == Parsed::Kind::kAnswer);
  CHECK(parsed.answer.text == "Hello");
  CHECK(parsed.answer.tokens.size() == 2);
  CHECK(parsed.answer.usage.completion == 3);
  CHECK(parsed.answer.ending == Ending::kOk);
  const std::size_t finish = kStream.find("\n\n", kStream.find("finish_reason")) + 2;
  for (std::size_t cut = 0; cut < finish - 1; ++cut)
    REQUIRE(parse_stream(kStream.substr(0, cut), asked()).kind == Parsed::Kind::kMalformed);
}

TEST_CASE("streams: what repeats after the end is ignored, what repeats before it is noticed") {
  const std::string usage = R"(data: {"choices":[],"usage")";
  std::string twice = kStream;
  const std::size_t at = twice.find(R"(data: {"choices":[{"delta":{},"finish)");
  const std::size_t end = twice.find(usage);
  twice.insert(end, twice.substr(at, end - at));
  CHECK(parse_stream(twice, asked()).answer.text == "Hello");

  std::string doubled = kStream;
  const std::size_t from = doubled.find(R"(data: {"choices":[{"delta":{"content":"lo")");
  const std::string chunk = doubled.substr(from, at - from);
  doubled.insert(from, chunk + chunk + chunk);
  CHECK(parse_stream(doubled, asked()).kind == Parsed::Kind::kMalformed);

  std::string named = kStream;  // with ids the second copy is known for what it is
  named.insert(from, "id: 7\n" + chunk + "id: 7\n" + chunk + "id: 8\n");
  named.erase(named.find("id: 8\n"), 6 + chunk.size());
  CHECK(parse_stream(named, asked()).answer.text == "Hello");
}

TEST_CASE("streams: an error event ends as that error") {
  const Parsed parsed =
      parse_stream("data: {\"error\":{\"message\":\"out of memory\",\"code\":500}}\n\n", asked());
  CHECK(parsed.kind == Parsed::Kind::kServerError);
  CHECK(parsed.status == 500);
}

TEST_CASE("streams: tool calls come in pieces") {
  const Parsed parsed = parse_stream(
      R"(data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c1","function":{"name":"add","arguments":""}}]}}]}

data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":"}}]}}]}

data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]},"finish_reason":"tool_calls"}]}

data: [DONE]

)",
      asked());
  REQUIRE(parsed.kind == Parsed::Kind::kAnswer);
  CHECK(parsed.answer.tool_calls[0]["function"]["arguments"] == "{\"a\":1}");
  CHECK(parsed.answer.tool_calls[0]["id"] == "c1");
}
