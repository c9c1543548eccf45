#include "core/json.h"

#include <limits>

#include <fmt/format.h>

#include "core/rng.h"
#include "tests/catch.h"
#include "tests/core/scratch.h"
#include "tests/time_limit.h"

using namespace lancet;

namespace {

/// The message with which `text` is refused; "" when it is accepted.
std::string refusal(std::string_view text, JsonLimits limits = {}) {
  const auto error = test::error_of([&] { (void)parse_json(text, "f.json", limits); });
  if (!error) return {};
  CHECK(error->kind() == ErrorKind::kInput);
  return error->message();
}

}  // namespace

TEST_CASE("parse_json: values and the order of keys survive a round trip") {
  const std::string text =
      R"({"z":1,"a":[true,false,null,-5,2.5,"\u00e9\n"],"m":{"":{},"x":[]},"e":1e-3})";
  const Json value = parse_json(text, "f.json");
  CHECK(value.begin().key() == "z");
  CHECK(value["a"][5] == "\xC3\xA9\n");
  CHECK(dump_json(value) ==
        "{\"z\":1,\"a\":[true,false,null,-5,2.5,\"\xC3\xA9\\n\"],\"m\":{\"\":{},\"x\":[]},"
        "\"e\":0.001}");
}

TEST_CASE("parse_json: integers of 64 bits keep every digit") {
  const Json value = parse_json("[18446744073709551615,-9223372036854775808,0]", "f.json");
  CHECK(value[0].get<std::uint64_t>() == 18446744073709551615ULL);
  CHECK(value[1].get<std::int64_t>() == std::numeric_limits<std::int64_t>::min());
  CHECK(value[0].is_number_unsigned());
  CHECK(parse_json("18446744073709551616", "f.json").is_number_float());
}

TEST_CASE("parse_json: a duplicate key is refused at its line and column however it is escaped") {
  CHECK(refusal("{\"a\": 1,\n \"a\": 2}") == "f.json:2:2: duplicate key 'a'");
  CHECK(refusal("{\"a\":1,\"\\u0061\":2}") == "f.json:1:8: duplicate key 'a'");
  CHECK(refusal("{\"\\\"\":1,\"x\":0,\"\\\"\":2}") == "f.json:1:15: duplicate key '\"'");
  CHECK(refusal(R"({"o":{"k":1},"p":[{"q":1,"r":2,"q":3}]})") == "f.json:1:32: duplicate key 'q'");
  CHECK(refusal(R"({"a":{"k":1},"b":{"k":2}})").empty());
}

TEST_CASE("parse_json: what the JSON standard forbids is refused") {
  for (const char* text :
       {"",          " ",       "{",       "[",   "[1,]",    "{\"a\":1,}", "{a:1}",
        "{'a':1}",   "01",      "+1",      ".5",  "1.",      "NaN",        "Infinity",
        "-Infinity", "nul",     "tru",     "\"",  "\"\t\"",  "\"\\x\"",    "\"\\u12\"",
        "[1 2]",     "{} {}",   "1 1",     "[]]", "// c\n1", "/* c */ 1",  "\"\\ud800\"",
        "1e999",     "{\"a\"}", "{\"a\":}"}) {
    INFO(text);
    CHECK_FALSE(refusal(text).empty());
  }
}

TEST_CASE("parse_json: errors name source and line and column in characters") {
  CHECK(refusal("{\n  \"\xC3\xA9\": x}").starts_with("f.json:2:8: "));
  CHECK(refusal("[1, 2").starts_with("f.json:1:6: "));
  CHECK(refusal("{}\n\n x").starts_with("f.json:3:2: "));
  CHECK(refusal("\"\xC3(\"") == "f.json:1:2: invalid UTF-8");
}

TEST_CASE("parse_json: a NUL byte does not end the document early") {
  using namespace std::string_view_literals;
  CHECK(refusal("{}\0{}"sv) == "f.json:1:3: a NUL byte");
  CHECK(refusal("\"a\0b\""sv) == "f.json:1:3: a NUL byte");
  CHECK(parse_json("\"\\u0000\"", "f.json").get<std::string>() == std::string(1, '\0'));
}

TEST_CASE("parse_json: nesting is cut at the limit and a million brackets do no harm") {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  CHECK(refusal(nested(64)).empty());
  CHECK(refusal(nested(65)) == "f.json:1:65: nesting deeper than 64 levels");
  CHECK(refusal(nested(3), {.depth = 2}) == "f.json:1:3: nesting deeper than 2 levels");
  CHECK(refusal(std::string(1'000'000, '[')) == "f.json:1:65: nesting deeper than 64 levels");
  CHECK(refusal("[1,2,{}]", {.values = 3}) == "f.json:1:7: more than 3 values");
}

TEST_CASE("parse_json: an object of 200000 keys is read in well under quadratic time") {
  std::string text = "{";
  for (int i = 0; i < 200'000; ++i) text += fmt::format("{}\"k{}\":{}", i ? "," : "", i, i);
  CHECK(processor_seconds([&] { CHECK(parse_json(text + "}", "f.json").size() == 200'000); }) < 10);
}

TEST_CASE("parse_json: every mutation of a document is parsed or refused with an Error") {
  const std::string seed = R"({"a":[1,2.5e3,{"b":"\u00e9\"x"}],"c":null,"d":true,"e":{"f":-1}})";
  const Random random(1, "json");
  constexpr std::string_view kAlphabet = "{}[]\",:\\u0e19.-+ntf\xC3\xFF\x00 ";
  for (std::uint64_t i = 0; i < 20'000; ++i) {
    std::string text = seed;
    for (std::uint64_t k = 0; k <= random.bits(i * 16) % 4; ++k) {
      const std::uint32_t at = random.bits(i * 16 + 2 * k + 1);
      const std::uint32_t with = random.bits(i * 16 + 2 * k + 2);
      text[at % text.size()] = kAlphabet[with % kAlphabet.size()];
    }
    try {
      const std::string again = dump_json(parse_json(text, "f.json"));
      CHECK(dump_json(parse_json(again, "f.json")) == again);
    } catch (const Error& error) {
      REQUIRE(error.kind() == ErrorKind::kInput);
    }
  }
}

TEST_CASE("json_int: takes integers and integral floats and refuses the rest by name") {
  const Json config =
      parse_json(R"({"n":7,"f":4096.0,"h":1.5,"s":"7","z":null,"big":18446744073709551615})", "c");
  CHECK(json_int(config, "n", "c") == 7);
  CHECK(json_int(config, "f", "c") == 4096);
  CHECK(json_int(config, "z", "c", 3) == 3);
  CHECK(json_int(config, "none", "c", 4) == 4);
  for (const char* key : {"h", "s", "z", "none", "big"}) {
    INFO(key);
    const auto error = test::error_of([&] { (void)json_int(config, key, "config.json"); });
    REQUIRE(error);
    CHECK(error->kind() == ErrorKind::kInput);
    CHECK(error->message().find("config.json: '" + std::string(key) + "'") == 0);
  }
  CHECK(test::error_of([&] { (void)json_int(config, "s", "c", 1); }));
}

TEST_CASE("json access: a wrong type is an error even where a fallback is given") {
  const Json config = parse_json(R"({"x":1,"b":true,"s":"t","d":0.5,"z":null})", "c");
  CHECK(json_number(config, "x", "c", 9) == 1);
  CHECK(json_number(config, "d", "c", 9) == 0.5);
  CHECK(json_number(config, "z", "c", 9) == 9);
  CHECK(json_bool(config, "b", "c", false));
  CHECK(json_bool(config, "none", "c", true));
  CHECK(json_string(config, "s", "c") == "t");
  CHECK(json_string(config, "none", "c", "u") == "u");
  CHECK(test::error_of([&] { (void)json_number(config, "s", "c", 0); }));
  CHECK(test::error_of([&] { (void)json_bool(config, "x", "c", false); }));
  CHECK(test::error_of([&] { (void)json_string(config, "x", "c", ""); }));
  CHECK(test::error_of([&] { (void)json_string(config, "none", "c"); }));
  CHECK(test::error_of([&] { (void)json_string(Json::array(), "x", "c", ""); }));
}

TEST_CASE("dump_json: invalid UTF-8 in a string is replaced and not thrown over") {
  CHECK(dump_json(Json("a\xFF")) == "\"a\xEF\xBF\xBD\"");
}

TEST_CASE("read_json: names the file in its errors and refuses one over the limit") {
  const test::Scratch scratch;
  write_file(scratch / "a.json", "{\"x\": }");
  const auto error = test::error_of([&] { (void)read_json(scratch / "a.json"); });
  REQUIRE(error);
  CHECK(error->message().find("a.json:1:7: ") != std::string::npos);
  CHECK(test::error_of([&] { (void)read_json(scratch / "a.json", 3); })->kind() ==
        ErrorKind::kInput);
}
