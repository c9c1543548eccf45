// tokenizer.json files that lie or explode: refused with the key named, in bounded time and memory.

#include <thread>

#include <fmt/format.h>

#include "core/error.h"
#include "formats/containers/gguf.h"
#include "formats/tokenizer/tokenizer_impl.h"
#include "tests/catch.h"
#include "tests/time_limit.h"
#include "tokenizer_fixture.h"

using namespace lancet;
using namespace lancet::test;

namespace {

Json model(Json vocab, Json merges) {
  Json out = {{"type", "BPE"}};
  out["vocab"] = std::move(vocab);
  out["merges"] = std::move(merges);
  return out;
}

Json tokenizer_with(const std::string& key, Json value) {
  Json out = {{"version", "1.0"}};
  out["model"] = model({{"a", 0}, {"b", 1}, {"ab", 2}}, Json::array({"a b"}));
  out[key] = std::move(value);
  return out;
}

void expect_refused(const Json& description, ErrorKind kind, const std::string& words) {
  try {
    static_cast<void>(Tokenizer::from_json(description, "tokenizer.json"));
    FAIL("accepted although: " << words);
  } catch (const Error& error) {
    INFO(error.what());
    CHECK(error.kind() == kind);
    CHECK(error.message().find(words) != std::string::npos);
    CHECK(error.message().find("tokenizer.json") != std::string::npos);
  }
}

Json added(std::int64_t id, const std::string& content) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

}  // namespace

TEST_CASE("tokenizer: a vocabulary that lies is refused with the piece named", "[tokenizer]") {
  const auto refused = [](Json vocab, const std::string& words) {
    expect_refused(tokenizer_with("model", model(std::move(vocab), Json::array())),
                   ErrorKind::kInput, words);
  };
  refused({{"a", 4294967296LL}}, "the id of 'a' is 4294967296");
  refused({{"a", 18446744073709551615ULL}}, "the id of 'a'");
  refused({{"a", -1}}, "the id of 'a' is -1");
  refused({{"a", 1.5}}, "the id of 'a' is 1.5");
  refused({{"a", "1"}}, "the id of 'a'");
  refused({{"a", 7}, {"b", 7}}, "'a' and 'b' have the same id 7");
  refused(Json::array(), "expected an object");
}

TEST_CASE("tokenizer: a model that says nothing is refused, read as values and as text alike",
          "[tokenizer]") {
  for (const Json& nothing : {Json::object(), Json(), Json::array(), Json("BPE")}) {
    const Json json = tokenizer_with("model", nothing);
    INFO(json.dump());
    CHECK_THROWS_AS(Tokenizer::from_json(json, "t"), Error);
    const std::string text = json.dump();
    CHECK_THROWS_AS(make_tokenizer(std::string_view(text), "t"), Error);
  }
}

TEST_CASE("tokenizer: a lone huge id costs no memory for the hole before it", "[tokenizer]") {
  const Tokenizer tokenizer = Tokenizer::from_json(
      tokenizer_with("model", model({{"a", 0}, {"b", 2147483647}}, Json::array())), "t");
  CHECK(tokenizer.vocab_size() == 2147483648);
  CHECK(tokenizer.token(2147483647) == "b");
  CHECK(tokenizer.encode("ab").ids == std::vector<TokenId>{0, 2147483647});
  CHECK_THROWS_AS(tokenizer.token(5), Error);
  CHECK(tokenizer.decode({0, 5, -3, 2147483647}) ==
        "a b");  // unknown ids are left out, as in the library
}

TEST_CASE("tokenizer: merges of pieces that do not exist are refused", "[tokenizer]") {
  const auto refused = [](Json merges, const std::string& words) {
    expect_refused(
        tokenizer_with("model", model({{"a", 0}, {"b", 1}, {"ab", 2}}, std::move(merges))),
        ErrorKind::kInput, words);
  };
  refused(Json::array({"a c"}), "'c' is not in the vocabulary");
  refused(Json::array({Json::array({"b", "a"})}), "'ba' is not in the vocabulary");
  refused(Json::array({"ab"}), "expected two pieces");
  refused(Json::array({"a b c"}), "expected two pieces");
  refused(Json::array({1}), "expected \"a b\"");
  refused(Json::array({Json::array({"a"})}), "expected \"a b\"");
  refused("a b", "expected an array");
}

TEST_CASE("tokenizer: added tokens that occur twice are refused", "[tokenizer]") {
  expect_refused(tokenizer_with("added_tokens", Json::array({added(5, "x"), added(6, "x")})),
                 ErrorKind::kInput, "'x' occurs twice");
  expect_refused(tokenizer_with("added_tokens", Json::array({added(5, "x"), added(5, "y")})),
                 ErrorKind::kInput, "the id 5 occurs twice");
  expect_refused(tokenizer_with("added_tokens", Json::array({added(1LL << 40, "x")})),
                 ErrorKind::kInput, "added_tokens[0].id");
  expect_refused(tokenizer_with("added_tokens", "x"), ErrorKind::kInput,
                 "added_tokens: expected an array");
}

TEST_CASE("tokenizer: components that are not known are refused by name and place", "[tokenizer]") {
  expect_refused(tokenizer_with("normalizer", {{"type", "Rot13"}}), ErrorKind::kMismatch,
                 "normalizer 'Rot13'");
  expect_refused(tokenizer_with("pre_tokenizer", {{"type", "Syllables"}}), ErrorKind::kMismatch,
                 "pre-tokenizer 'Syllables'");
  expect_refused(tokenizer_with("decoder", {{"type", "HMM"}}), ErrorKind::kMismatch,
                 "decoder 'HMM'");
  expect_refused(tokenizer_with("post_processor", {{"type", "X"}}), ErrorKind::kMismatch,
                 "post-processor 'X'");
  expect_refused(tokenizer_with("model", {{"type", "Trigram"}}), ErrorKind::kMismatch,
                 "model 'Trigram'");
  expect_refused(tokenizer_with("normalizer", Json::array({1})), ErrorKind::kInput, "normalizer");
  expect_refused(tokenizer_with("version", "2.0"), ErrorKind::kInput, "version");
}

TEST_CASE("tokenizer: components nested too deep are refused", "[tokenizer]") {
  Json normalizer = {{"type", "NFC"}};
  Json pre = {{"type", "Whitespace"}};
  for (int i = 0; i < 20; ++i) {
    normalizer = {{"type", "Sequence"}, {"normalizers", Json::array({normalizer})}};
    pre = {{"type", "Sequence"}, {"pretokenizers", Json::array({pre})}};
  }
  expect_refused(tokenizer_with("normalizer", normalizer), ErrorKind::kInput, "nested deeper");
  expect_refused(tokenizer_with("pre_tokenizer", pre), ErrorKind::kInput, "nested deeper");
}

TEST_CASE("tokenizer: a pattern that does not compile or never ends is an error, not a hang",
          "[tokenizer]") {
  const auto with_pattern = [](const std::string& regex) {
    return tokenizer_with("pre_tokenizer", {{"type", "Split"},
                                            {"pattern", {{"Regex", regex}}},
                                            {"behavior", "Isolated"},
                                            {"invert", false}});
  };
  expect_refused(with_pattern("(a"), ErrorKind::kInput, "does not compile");
  expect_refused(with_pattern(std::string(70'000, 'a')), ErrorKind::kInput, "70000 bytes");
  const Tokenizer tokenizer = Tokenizer::from_json(with_pattern("(?:a|aa)+$"), "tokenizer.json");
  CHECK(processor_seconds(
            [&] { CHECK_THROWS_AS(tokenizer.encode(std::string(5000, 'a') + "b"), Error); }) < 20);
}

TEST_CASE("tokenizer: a byte token needs exactly two hexadecimal digits", "[tokenizer]") {
  Json description = tokenizer_with("decoder", {{"type", "ByteFallback"}});
  description["model"] = model(
      {{"<0x-1>", 0}, {"<0x4>", 1}, {"<0x41>", 2}, {"<0x4g>", 3}, {"<0xFF>", 4}}, Json::array());
  const Tokenizer tokenizer = Tokenizer::from_json(description, "t");
  CHECK(tokenizer.decode({0, 1, 2, 3}) == "<0x-1><0x4>A<0x4g>");
  CHECK(tokenizer.decode({2, 4}) == "\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST_CASE("tokenizer: templates that name unknown tokens are refused", "[tokenizer]") {
  const Json item = {{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}};
  Json post = {
      {"type", "TemplateProcessing"}, {"single", Json::array({item})}, {"pair", Json::array()}};
  post["special_tokens"] = Json::object();
  expect_refused(tokenizer_with("post_processor", post), ErrorKind::kInput, "'<s>' is missing");
  post["special_tokens"] = {{"<s>", {{"id", "<s>"}, {"ids", {-1}}, {"tokens", {"<s>"}}}}};
  expect_refused(tokenizer_with("post_processor", post), ErrorKind::kInput, "an id that is none");
  post["special_tokens"]["<s>"]["ids"] = Json::array({3});
  expect_refused(tokenizer_with("post_processor", post), ErrorKind::kInput, "the id 3 is no token");
}

TEST_CASE("tokenizer: a Unigram model that lies is refused with the entry named", "[tokenizer]") {
  const auto refused = [](const Json& vocab, const Json& unk, const std::string& words) {
    Json unigram = {{"type", "Unigram"}};
    unigram["vocab"] = vocab;
    unigram["unk_id"] = unk;
    expect_refused(tokenizer_with("model", unigram), ErrorKind::kInput, words);
  };
  const Json good = Json::array({"a", -1.5});
  refused(Json::array({good, Json::array({"b"})}), nullptr, "[1]: expected [piece, score]");
  refused(Json::array({good, Json::array({"b", "x"})}), nullptr, "[1]: expected [piece, score]");
  refused(Json::array({good, good}), nullptr, "'a' occurs twice");
  refused(Json::array({good}), 1, "model.unk_id: expected an integer from 0 to 0");
  refused({{"a", 0}}, nullptr, "model.vocab: expected an array");
}

TEST_CASE("tokenizer: sums of a Unigram model tie where they tie as the library reads the scores",
          "[tokenizer]") {
  Json unigram = {{"type", "Unigram"}, {"unk_id", 0}};
  // "ab" is below the sum of "a" and "b" by a last digit, which the library's reader rounds away.
  unigram["vocab"] = Json::parse(
      R"([["<unk>", 0.0], ["a", -5.0], ["b", -5.286065341439931], ["ab", -10.286065341439933]])");
  const Tokenizer tokenizer = Tokenizer::from_json(tokenizer_with("model", unigram), "t");
  CHECK(tokenizer.encode("ab").ids == std::vector<TokenId>{3});
  CHECK(tokenizer.json()["model"]["vocab"] == unigram["vocab"]);  // as they were written
  unigram["vocab"][3][1] = -10.286065341439936;
  CHECK(Tokenizer::from_json(tokenizer_with("model", unigram), "t").encode("ab").ids ==
        std::vector<TokenId>{1, 2});
}

TEST_CASE("tokenizer: a text that the model cannot spell is an error where nothing is unknown",
          "[tokenizer]") {
  Json unigram = {{"type", "Unigram"}};
  unigram["vocab"] = Json::array({Json::array({"a", -1.0})});
  CHECK_THROWS_AS(Tokenizer::from_json(tokenizer_with("model", unigram), "t").encode("ab"), Error);
  for (const std::string type : {"WordPiece", "WordLevel"}) {
    Json words = {{"type", type}, {"unk_token", "?"}};
    words["vocab"] = {{"a", 0}};
    const Tokenizer tokenizer = Tokenizer::from_json(tokenizer_with("model", words), "t");
    CHECK(tokenizer.encode("a").ids == std::vector<TokenId>{0});
    CHECK_THROWS_AS(tokenizer.encode("ab"), Error);
  }
}

TEST_CASE("tokenizer: a charsmap that lies is refused or reads nothing outside of itself",
          "[tokenizer]") {
  const auto with_charsmap = [](const std::string& text) {
    return tokenizer_with("normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", text}});
  };
  for (const std::string text : {"*", "AAAA", "AAAAAA==", "/////w==", "BAAAAAAA"})
    expect_refused(with_charsmap(text), ErrorKind::kInput, "precompiled_charsmap");
  // One unit that points far away, and no texts.
  const Tokenizer tokenizer = Tokenizer::from_json(with_charsmap("BAAAAP////8="), "t");
  CHECK(tokenizer.encode("ab").ids == std::vector<TokenId>{2});
}

TEST_CASE("tokenizer: a long word that WordPiece may cut takes time linear in it", "[tokenizer]") {
  Json words = {{"type", "WordPiece"}, {"unk_token", "?"}, {"max_input_chars_per_word", 1 << 30}};
  words["vocab"] = {{"?", 0}, {"a", 1}, {"##a", 2}, {"##aa", 3}};
  const Tokenizer tokenizer = Tokenizer::from_json(tokenizer_with("model", words), "t");
  const std::string word(10'000'000, 'a');
  CHECK(processor_seconds([&] { CHECK(tokenizer.encode(word).ids.size() == 5'000'001); }) < 10);
  CHECK(processor_seconds(
            [&] { CHECK(tokenizer.encode(word + "b").ids == std::vector<TokenId>{0}); }) < 10);
}

TEST_CASE("tokenizer: text that is not UTF-8 is an error with its offset", "[tokenizer]") {
  const Tokenizer tokenizer = Tokenizer::from_json(tokenizer_with("padding", nullptr), "t");
  try {
    static_cast<void>(tokenizer.encode("ab\xFFz"));
    FAIL("accepted invalid UTF-8");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kInput);
    CHECK(error.message().find("byte 2") != std::string::npos);
  }
}

TEST_CASE("tokenizer: a word of three million bytes is merged in seconds", "[tokenizer][slow]") {
  if (const std::string missing = missing_for_goldens(); !missing.empty()) LANCET_SKIP(missing);
  const Tokenizer tokenizer = real_tokenizer("llama3");
  std::string word;
  for (std::uint32_t state = 1; word.size() < 3'000'000;) {
    state = state * 1664525 + 1013904223;
    word += static_cast<char>('a' + (state >> 24) % 26);
  }
  std::size_t tokens = 0;
  const double time = processor_seconds([&] { tokens = tokenizer.encode(word, false).ids.size(); });
  CHECK(tokens > 300'000);
  CHECK(time < 20);  // a quadratic merge would need hours
}

TEST_CASE("tokenizer: two million marks are ordered in seconds", "[tokenizer]") {
  Json description = tokenizer_with("normalizer", {{"type", "NFC"}});
  const Tokenizer tokenizer = Tokenizer::from_json(description, "t");
  std::string text = "a";
  for (int i = 0; i < 1'000'000; ++i)
    text += "\xCC\x81\xCC\x96";  // classes 230 and 220: always out of order
  CHECK(processor_seconds([&] { CHECK(tokenizer.encode(text).ids.empty()); }) < 20);
}

TEST_CASE("tokenizer: white space taken by added tokens is walked once", "[tokenizer]") {
  Json greedy = added(3, " ");
  greedy["lstrip"] = greedy["rstrip"] = true;
  const Tokenizer tokenizer =
      Tokenizer::from_json(tokenizer_with("added_tokens", Json::array({greedy})), "t");
  CHECK(processor_seconds([&] {
          CHECK(tokenizer.encode(std::string(1'000'000, ' ')).ids == std::vector<TokenId>{3});
        }) < 10);
}

TEST_CASE("tokenizer: a GGUF whose vocabulary lies is refused with the key named", "[tokenizer]") {
  const auto strings = [](std::vector<std::string> list) {
    GgufValue value;
    value.type = GgufType::kArray;
    value.element = GgufType::kString;
    value.value = std::move(list);
    return value;
  };
  const auto text = [](std::string content) {
    GgufValue value;
    value.type = GgufType::kString;
    value.value = std::move(content);
    return value;
  };
  const auto header = [&](const std::string& kind, const std::string& pre,
                          std::vector<std::string> tokens, std::vector<std::string> merges) {
    GgufHeader out;
    out.metadata = {{"tokenizer.ggml.model", text(kind)},
                    {"tokenizer.ggml.pre", text(pre)},
                    {"tokenizer.ggml.tokens", strings(std::move(tokens))},
                    {"tokenizer.ggml.merges", strings(std::move(merges))}};
    return out;
  };
  const auto refused = [](const GgufHeader& broken, ErrorKind kind, const std::string& words) {
    try {
      static_cast<void>(Tokenizer::from_gguf(broken));
      FAIL("accepted although: " << words);
    } catch (const Error& error) {
      INFO(error.what());
      CHECK(error.kind() == kind);
      CHECK(error.message().find(words) != std::string::npos);
    }
  };
  CHECK(Tokenizer::from_gguf(header("gpt2", "gpt-2", {"a", "b", "ab"}, {"a b"})).encode("ab").ids ==
        std::vector<TokenId>{2});
  for (const std::string pre : {"default", "smollm", "olmo", "llama-bpe", "qwen2", "tekken"}) {
    INFO(pre);
    const Tokenizer tokenizer =
        Tokenizer::from_gguf(header("gpt2", pre, {"a", "b", "ab"}, {"a b"}));
    const Tokenizer again = Tokenizer::from_json(tokenizer.json(), "again");
    CHECK(again.encode("ab12 ab").ids == tokenizer.encode("ab12 ab").ids);
  }
  refused(header("plamo2", "default", {"a"}, {}), ErrorKind::kMismatch, "'plamo2'");
  refused(header("llama", "default", {"a"}, {}), ErrorKind::kInput, "tokenizer.ggml.scores");
  refused(header("gpt2", "smolm", {"a"}, {}), ErrorKind::kMismatch, "'smolm'");
  refused(header("gpt2", "gpt-2", {"a", "a"}, {}), ErrorKind::kInput, "occurs twice");
  refused(header("gpt2", "gpt-2", {"a", "\xFF"}, {}), ErrorKind::kInput, "token 1 is not UTF-8");
  refused(header("gpt2", "gpt-2", {"a"}, {"a b"}), ErrorKind::kInput, "tokenizer.ggml.merges");
  refused(GgufHeader{}, ErrorKind::kInput, "tokenizer.ggml.model");
}

TEST_CASE(
    "tokenizer: a GGUF that asks for BOS and EOS gets them around the text, and in its json()",
    "[tokenizer]") {
  const auto value = [](GgufType type, auto content) {
    GgufValue out;
    out.type = type;
    out.element = GgufType::kString;
    out.value = std::move(content);
    return out;
  };
  using Strings = std::vector<std::string>;
  GgufHeader header;
  header.metadata = {
      {"tokenizer.ggml.model", value(GgufType::kString, std::string("gpt2"))},
      {"tokenizer.ggml.pre", value(GgufType::kString, std::string("gpt-2"))},
      {"tokenizer.ggml.tokens", value(GgufType::kArray, Strings{"<s>", "a", "b", "ab", "</s>"})},
      {"tokenizer.ggml.merges", value(GgufType::kArray, Strings{"a b"})},
      {"tokenizer.ggml.token_type",
       value(GgufType::kArray, std::vector<std::int64_t>{3, 1, 1, 1, 3})},
      {"tokenizer.ggml.bos_token_id", value(GgufType::kU32, std::uint64_t{0})},
      {"tokenizer.ggml.eos_token_id", value(GgufType::kU32, std::uint64_t{4})},
      {"tokenizer.ggml.add_bos_token", value(GgufType::kBool, true)},
      {"tokenizer.ggml.add_eos_token", value(GgufType::kBool, true)}};
  const Tokenizer tokenizer = Tokenizer::from_gguf(header);
  const std::vector<TokenId> expected = {0, 3, 0, 1, 4};
  CHECK(tokenizer.encode("ab<s>a").ids == expected);
  CHECK(tokenizer.encode("ab<s>a", false).ids == std::vector<TokenId>{3, 0, 1});
  CHECK(tokenizer.encode("ab").offsets.back() == std::pair<std::uint32_t, std::uint32_t>{2, 2});
  CHECK(tokenizer.bos() == 0);
  CHECK(tokenizer.eos() == 4);
  CHECK(tokenizer.is_special(4));
  CHECK(tokenizer.decode(expected) == "aba");
  CHECK(Tokenizer::from_json(tokenizer.json(), "again").encode("ab<s>a").ids == expected);
}

TEST_CASE("tokenizer: many threads may encode with one tokenizer at once", "[tokenizer]") {
  if (const std::string missing = missing_model(); !missing.empty()) LANCET_SKIP(missing);
  const Tokenizer tokenizer = smollm2();
  std::vector<std::string> texts;
  for (int i = 0; i < 200; ++i)
    texts.push_back(fmt::format("Text number {} isn't like \xC3\xA9 the {}th.", i * i, i));
  std::vector<std::vector<TokenId>> alone;
  for (const std::string& text : texts) alone.push_back(tokenizer.encode(text).ids);
  std::vector<int> wrong(8, 0);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 20; ++round) {
        for (std::size_t i = 0; i < texts.size(); ++i)
          wrong[t] += tokenizer.encode(texts[i]).ids != alone[i] ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const int count : wrong) CHECK(count == 0);
}
