#include "distill/teacher/parse.h"

#include <cmath>
#include <limits>

#include "core/base64.h"
#include "core/rng.h"
#include "distill/teacher/sse.h"
#include "tests/catch.h"

using namespace lancet;

namespace {

TeacherRequest asked(std::uint64_t max_tokens = 100) {
  TeacherRequest out;
  out.body = {{"max_tokens", max_tokens},
              {"messages", Json::array({{{"role", "user"}, {"content", "hello there"}}})}};
  return out;
}

TeacherAnswer answer_of(std::string_view body, const TeacherRequest& request = asked()) {
  const Parsed parsed = parse_answer(body, request);
  INFO(parsed.message);
  REQUIRE(parsed.kind == Parsed::Kind::kAnswer);
  return parsed.answer;
}

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

TEST_CASE("log probabilities: both forms give the same tokens, ids come from wherever they stand") {
  const auto chat = parse_logprobs(Json::parse(
      R"({"content":[{"id":5,"token":"a","bytes":[226,130],"logprob":-0.5,"top_logprobs":[
         {"id":9,"token":"b","bytes":[98],"logprob":-2.0},{"id":5,"token":"a","bytes":[226,130],"logprob":-0.5}]}]})"));
  REQUIRE(chat.size() == 1);
  CHECK(chat[0].bytes == "\xE2\x82");
  CHECK(chat[0].id == 5);
  REQUIRE(chat[0].top.size() == 2);
  CHECK(chat[0].top[0].id == 5);  // sorted
  const auto plain = parse_logprobs(Json::parse(
      R"({"tokens":["x","token_id:7"],"token_logprobs":[null,-1.25],"top_logprobs":[null,{"token_id:7":-1.25,"token_id:8":-3}]})"));
  REQUIRE(plain.size() == 2);
  CHECK(std::isnan(plain[0].logprob));
  CHECK(plain[1].id == 7);
  CHECK(plain[1].top[1].id == 8);
  CHECK(parse_logprobs(Json()).empty());
  CHECK_THROWS(parse_logprobs(Json::parse(R"({"what":1})")));
  CHECK_THROWS(parse_logprobs(Json::parse(R"({"tokens":["a","b"],"token_logprobs":[-1]})")));
}

TEST_CASE("log probabilities: columns with more texts than values are damaged") {
  const char* damaged =
      R"({"tokens":1,"top":0,"logprobs":"AACAvw==","texts":["a"],"top_texts":[["b","c"]]})";
  CHECK_THROWS(logprobs_from_json(Json::parse(damaged)));
}

TEST_CASE("log probabilities: vLLM's prompt_logprobs are those of the prompt's own ids") {
  const auto scored = parse_prompt_logprobs(
      Json::parse(R"([null,{"12":{"logprob":-0.5,"rank":1,"decoded_token":"a"},
                            "4":{"logprob":-3.5,"rank":9,"decoded_token":"b"}}])"),
      {1, 4});
  REQUIRE(scored.size() == 2);
  CHECK(std::isnan(scored[0].logprob));
  CHECK(scored[1].logprob == -3.5);
  CHECK(scored[1].bytes == "b");
  CHECK(scored[1].top[0].id == 12);
}

TEST_CASE("log probabilities: an echoed prompt is scored apart from what follows") {
  TeacherRequest request;
  request.route = Route::kCompletions;
  request.body = {{"prompt", "ab c"}, {"echo", true}, {"max_tokens", 1}};
  const auto answer = answer_of(
      R"({"choices":[{"text":"ab c d","finish_reason":"stop","logprobs":{"tokens":["ab"," c"," d"],
         "token_logprobs":[null,-1,-2],"top_logprobs":[null,{" c":-1},{" d":-2}]}}]})",
      request);
  CHECK(answer.prompt_tokens.size() == 2);
  REQUIRE(answer.tokens.size() == 1);
  CHECK(answer.tokens[0].bytes == " d");
  CHECK(answer.text == " d");
}

TEST_CASE("log probabilities: an echoed prompt of token ids is split by what usage counted") {
  TeacherRequest request;
  request.route = Route::kCompletions;
  request.body = {{"prompt", "ab c"}, {"echo", true}, {"max_tokens", 1}};
  const auto answer = answer_of(
      R"({"choices":[{"text":"ab c d","finish_reason":"length","logprobs":{
         "tokens":["token_id:7","token_id:8","token_id:9"],"token_logprobs":[null,-1,-2],
         "top_logprobs":[null,{"token_id:8":-1},{"token_id:9":-2}]}}],
         "usage":{"prompt_tokens":2,"completion_tokens":1}})",
      request);
  REQUIRE(answer.prompt_tokens.size() == 2);  // by bytes it would be one
  CHECK(answer.prompt_tokens[1].id == 8);
  REQUIRE(answer.tokens.size() == 1);
  CHECK(answer.tokens[0].id == 9);
  CHECK(answer.usage.completion == 1);
}

TEST_CASE("log probabilities: a request whose echo is not true splits nothing") {
  TeacherRequest request;
  request.route = Route::kCompletions;
  for (const Json& echo : {Json("yes"), Json(1), Json(nullptr), Json(false), Json::object()}) {
    request.body = {{"prompt", "ab"}, {"echo", echo}, {"max_tokens", 2}};
    const auto answer = answer_of(
        R"({"choices":[{"text":"ab d","finish_reason":"stop","logprobs":{"tokens":["ab"," d"],
           "token_logprobs":[-1,-2],"top_logprobs":[{"ab":-1},{" d":-2}]}}]})",
        request);
    CHECK(answer.prompt_tokens.empty());
    CHECK(answer.tokens.size() == 2);
    CHECK(answer.text == "ab d");
  }
}

TEST_CASE("log probabilities: a scored prompt is found in the choice and beside the choices") {
  const std::string scored =
      R"("prompt_token_ids":[1,4],"prompt_logprobs":[null,{"4":{"logprob":-3.5}}])";
  for (const std::string& body :
       {R"({"choices":[{"text":"x","finish_reason":"stop",)" + scored + "}]}",
        R"({"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],)" + scored + "}"}) {
    const auto answer = answer_of(body);
    REQUIRE(answer.prompt_tokens.size() == 2);
    CHECK(answer.prompt_tokens[1].id == 4);
    CHECK(answer.prompt_tokens[1].logprob == -3.5);
    const auto streamed = parse_stream("data: " + body + "\n\ndata: [DONE]\n\n", asked());
    CHECK(streamed.answer.prompt_tokens.size() == 2);
  }
}

TEST_CASE("log probabilities: ids that come apart are those of the positions") {
  const auto answer = answer_of(
      R"({"choices":[{"message":{"content":"ab"},"finish_reason":"stop","token_ids":[5,6],"logprobs":
         {"content":[{"token":"a","logprob":-1},{"token":"b","logprob":-2}]}}]})");
  REQUIRE(answer.tokens.size() == 2);
  CHECK(answer.tokens[1].id == 6);
  CHECK(answer.ids.empty());
  CHECK(answer_of(R"({"choices":[{"message":{"content":"ab"},"token_ids":[5,6]}]})").ids ==
        std::vector<std::int64_t>{5, 6});
}

namespace {

std::string column(const auto& values) {
  return encode_base64({reinterpret_cast<const char*>(values.data()), values.size() * 4});
}

/// vLLM's packed block of [tokens, 2]; ids count from `first`.
Json packed_block(std::int32_t first, std::size_t tokens) {
  std::vector<std::int32_t> ids;
  std::vector<float> values;
  for (std::size_t i = 0; i < 2 * tokens; ++i) {
    ids.push_back(first + static_cast<std::int32_t>(i));
    values.push_back(i == 1 ? -std::numeric_limits<float>::infinity()
                            : -0.25F * static_cast<float>(i + 1));
  }
  return {{"shape", {tokens, 2}},
          {"token_ids_dtype", "<i4"},
          {"token_ids_b64", column(ids)},
          {"logprobs_dtype", "<f4"},
          {"logprobs_b64", column(values)}};
}

Json packed_logprobs(const Json& block, std::vector<std::string> tokens) {
  return {{"tokens", tokens},
          {"token_logprobs", std::vector<double>(tokens.size(), -0.25)},
          {"top_logprobs", Json::array()},
          {"packed_top_logprobs", block}};
}

}  // namespace

TEST_CASE("log probabilities: packed alternatives are those of the same values in JSON") {
  const auto packed =
      parse_logprobs(packed_logprobs(packed_block(10, 2), {"token_id:10", "token_id:12"}));
  REQUIRE(packed.size() == 2);
  REQUIRE(packed[0].top.size() == 2);
  CHECK(packed[0].top[0].id == 10);
  CHECK(packed[0].top[0].logprob == -0.25);
  CHECK(std::isinf(packed[0].top[1].logprob));
  CHECK(packed[1].top[1].id == 13);
  CHECK(packed[1].top[1].logprob == -1.0);
  CHECK(packed[1].id == 12);
}

TEST_CASE("log probabilities: the packed blocks of a stream are joined, the last one is empty") {
  const auto chunk = [](const Json& logprobs, const char* finish) {
    Json choice{{"text", "x"}, {"logprobs", logprobs}, {"finish_reason", nullptr}};
    if (*finish != 0) choice["finish_reason"] = finish;
    return "data: " + dump_json({{"choices", Json::array({choice})}}) + "\n\n";
  };
  TeacherRequest request = asked();
  request.route = Route::kCompletions;
  const auto parsed = parse_stream(
      chunk(packed_logprobs(packed_block(10, 1), {"token_id:10"}), "") +
          chunk(packed_logprobs(packed_block(20, 2), {"token_id:20", "token_id:22"}), "") +
          chunk(packed_logprobs(packed_block(0, 0), {}), "stop") + "data: [DONE]\n\n",
      request);
  REQUIRE(parsed.kind == Parsed::Kind::kAnswer);
  REQUIRE(parsed.answer.tokens.size() == 3);
  CHECK(parsed.answer.tokens[2].top[1].id == 23);
}

TEST_CASE("log probabilities: packed blocks of another size or shape are damaged") {
  const std::vector<std::string> two{"token_id:1", "token_id:2"};
  Json block = packed_block(1, 2);
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, Json>>{{"shape", {2, 3}},
                                                 {"shape", {1, 2}},
                                                 {"shape", {1ULL << 40, 2}},
                                                 {"shape", {2}},
                                                 {"shape", "all"},
                                                 {"token_ids_dtype", "<i8"},
                                                 {"token_ids_b64", "AAAA"},
                                                 {"logprobs_b64", "no base64"},
                                                 {"logprobs_b64", nullptr}}) {
    Json bad = block;
    bad[key] = value;
    INFO(key << " " << value.dump());
    CHECK_THROWS(parse_logprobs(packed_logprobs(bad, two)));
  }
  CHECK_THROWS(parse_logprobs(packed_logprobs(Json::array({block, block}), two)));
  CHECK_NOTHROW(parse_logprobs(packed_logprobs(block, two)));
}

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
