// Log probabilities of answers and of prompts, in every form that servers send them.

#include <cmath>
#include <limits>

#include "core/base64.h"
#include "distill/teacher/parse.h"
#include "tests/distill/teacher/answers.h"

using namespace lancet;
using namespace lancet::test;

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

TEST_CASE("log probabilities: what cannot be one is a damaged answer, and told") {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  const TeacherToken fine{"a", 5, -0.7, {{"a", 5, -0.7}, {"b", 6, -0.7}, {"c", 7, -INFINITY}}};
  CHECK_FALSE(logprobs_problem({fine, {"b", 6, kNan, {}}}));
  const auto problem = [&](auto&& change) {
    TeacherToken token = fine;
    change(token);
    return logprobs_problem({fine, token}).value_or("");
  };
  CHECK(problem([](auto& t) { t.logprob = 1.5; }) == "1.5 is no log probability");
  CHECK(problem([](auto& t) { t.top[1].logprob = 0.25; }) == "0.25 is no log probability");
  CHECK(problem([&](auto& t) { t.top[1].logprob = kNan; }) == "nan is no log probability");
  CHECK(problem([](auto& t) { t.top[2].logprob = -0.7; }) ==
        "probabilities of one token sum to 1.4898");
  CHECK(problem([](auto& t) { t.top[0].id = 1LL << 31; }) == "2147483648 is no token");
  const Parsed parsed = parse_answer(
      R"({"choices":[{"message":{"content":"a"},"finish_reason":"stop","logprobs":{"content":[
         {"token":"a","logprob":1.5}]}}]})",
      {});
  CHECK(parsed.kind == Parsed::Kind::kMalformed);
  CHECK(parsed.message.find("1.5 is no log probability") != std::string::npos);
}
