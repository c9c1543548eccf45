// What a hostile tokenizer or text can make grow: work on one long word, texts that normalizers and
// decoders double, merges without end. Each is near linear or refused.

#include <cstdlib>
#include <functional>

#include <fmt/format.h>

#include "core/error.h"
#include "formats/tokenizer/tokenizer_impl.h"
#include "scratch.h"
#include "tests/catch.h"
#include "tests/time_limit.h"

using namespace lancet;

namespace {

constexpr std::string_view kPieces[] = {"a", "b", "aa", "ab", "ba", "aaaa", "abab", "aaaaaaaa"};

Json with_model(Json model) {
  Json out = {{"version", "1.0"}};
  out["model"] = std::move(model);
  return out;
}

Json vocabulary(std::string_view prefix) {
  Json vocab = Json::object();
  vocab["?"] = 0;
  for (const std::string_view piece : kPieces) vocab[std::string(piece)] = vocab.size();
  if (prefix.empty()) return vocab;
  for (const std::string_view piece : kPieces)
    vocab[std::string(prefix) + std::string(piece)] = vocab.size();
  return vocab;
}

/// A tokenizer of each kind that takes a text as one word.
Json description(std::string_view kind) {
  const Json merges = Json::array({"a a", "a b", "b a", "aa aa", "ab ab", "aaaa aaaa"});
  if (kind == "Unigram") {
    Json model = {{"type", "Unigram"}, {"unk_id", 0}};
    model["vocab"] = Json::array({Json::array({"?", 0.0})});
    for (const std::string_view piece : kPieces)
      model["vocab"].push_back(
          Json::array({std::string(piece), -1.0 / static_cast<double>(piece.size())}));
    return with_model(model);
  }
  if (kind == "WordPiece") {
    Json model = {{"type", "WordPiece"}, {"unk_token", "?"}, {"max_input_chars_per_word", 1 << 30}};
    model["vocab"] = vocabulary("##");
    return with_model(model);
  }
  Json model = {{"type", "BPE"}, {"unk_token", "?"}};
  model["vocab"] = vocabulary("");
  model["merges"] = merges;
  Json out = with_model(model);
  if (kind == "byte-level BPE")
    out["pre_tokenizer"] = {
        {"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  return out;
}

std::string word_of(std::string_view shape, std::size_t bytes) {
  std::string word;
  word.reserve(bytes);
  for (std::uint32_t state = 1; word.size() < bytes;) {
    state = state * 1664525 + 1013904223;
    if (shape == "random") {
      word += (state >> 24) % 2 == 0 ? 'a' : 'b';
    } else {
      word += shape;
    }
  }
  return word;
}

Json replace(const std::string& from, const std::string& to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

Json sequence(const char* key, const Json& step, int count) {
  Json out = {{"type", "Sequence"}};
  out[key] = Json::array();
  for (int i = 0; i < count; ++i) out[key].push_back(step);
  return out;
}

std::string refusal(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kInput);
    return error.message();
  }
  return "accepted";
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

// LANCET_LONG_WORD: bytes of the shortest word; the longest has eight times as many.
TEST_CASE("tokenizer: twice the word takes less than two and a half times the steps",
          "[tokenizer][slow]") {
  const char* asked = std::getenv("LANCET_LONG_WORD");
  const std::size_t shortest = asked != nullptr ? std::strtoull(asked, nullptr, 10) : 1U << 16U;
  for (const std::string_view kind : {"byte-level BPE", "BPE", "Unigram", "WordPiece"}) {
    const auto impl = make_tokenizer(description(kind), "t");
    for (const std::string_view shape : {"a", "ab", "random"}) {
      std::uint64_t before = 0;
      for (int doubling = 0; doubling < 4; ++doubling) {
        const std::string word = word_of(shape, shortest << static_cast<unsigned>(doubling));
        const auto scratch = impl->model->make_scratch();
        std::vector<Piece> pieces;
        const double time = processor_seconds([&] { impl->model->encode(word, *scratch, pieces); });
        if (asked != nullptr) {
          fmt::print("{:14} {:6} {:9} bytes {:10} steps {:.3f} s\n", kind, shape, word.size(),
                     scratch->steps, time);
        }
        INFO(kind << ", " << shape << ", " << word.size() << " bytes");
        CHECK(pieces.back().end == word.size());
        CHECK(scratch->steps >= word.size() / 8);
        if (before > 0)
          CHECK(static_cast<double>(scratch->steps) < 2.5 * static_cast<double>(before));
        before = scratch->steps;
      }
    }
  }
}

TEST_CASE("tokenizer: normalizers that double a text again and again are stopped", "[tokenizer]") {
  Json hostile = description("BPE");
  hostile["normalizer"] = sequence("normalizers", replace("a", "aa"), 60);
  const Tokenizer tokenizer = Tokenizer::from_json(hostile, "t");
  CHECK(tokenizer.encode("b").ids.size() == 1);
  CHECK(processor_seconds([&] {
          CHECK(contains(
              refusal([&] { static_cast<void>(tokenizer.encode(std::string(1000, 'a'))); }),
              "64 times"));
        }) < 5 * kSanitizerFactor);
  hostile["normalizer"] = {{"type", "Prepend"}, {"prepend", std::string(2U << 20U, 'a')}};
  CHECK(
      contains(refusal([&] { static_cast<void>(Tokenizer::from_json(hostile, "t").encode("b")); }),
               "64 times"));
  // An added token is normalized when the file is read.
  hostile["normalizer"] = sequence("normalizers", replace("a", "aa"), 60);
  hostile["added_tokens"] = Json::array({{{"id", 9}, {"content", "xa"}, {"normalized", true}}});
  CHECK(refusal([&] { static_cast<void>(Tokenizer::from_json(hostile, "t")); }) != "accepted");
}

TEST_CASE("tokenizer: decoders that double a text again and again are refused with their key",
          "[tokenizer]") {
  Json hostile = description("BPE");
  hostile["decoder"] = sequence("decoders", replace("a", "aa"), 60);
  CHECK(contains(refusal([&] { static_cast<void>(Tokenizer::from_json(hostile, "t.json")); }),
                 "t.json: decoder.decoders[12]"));
  hostile["decoder"] = sequence("decoders", replace("a", "b"), 60);
  CHECK(Tokenizer::from_json(hostile, "t").decode({1, 1}) == "bb");
}

TEST_CASE("tokenizer: added tokens that stand for each other are found once", "[tokenizer]") {
  Json cyclic = description("BPE");
  // Each content normalizes to the other's.
  cyclic["normalizer"] = sequence("normalizers", Json(), 0);
  cyclic["normalizer"]["normalizers"] =
      Json::array({replace("x", "z"), replace("y", "x"), replace("z", "y")});
  cyclic["added_tokens"] = Json::array({{{"id", 9}, {"content", "<x>"}, {"normalized", true}},
                                        {{"id", 10}, {"content", "<y>"}, {"normalized", true}},
                                        {{"id", 11}, {"content", "<x><y>"}, {"normalized", true}}});
  for (Json& token : cyclic["added_tokens"])
    for (const char* flag : {"single_word", "lstrip", "rstrip", "special"}) token[flag] = false;
  const Tokenizer tokenizer = Tokenizer::from_json(cyclic, "t");
  CHECK(tokenizer.encode("<x>").ids == std::vector<TokenId>{9});
  CHECK(tokenizer.encode("<y><x><y>").ids == std::vector<TokenId>{10, 11});
}

TEST_CASE("tokenizer: files that lie in their text are refused with path and key", "[tokenizer]") {
  const Scratch scratch;
  const fs::path path = scratch / "tokenizer.json";
  const auto refused = [&](const std::string& text) {
    write_file(path, text);
    const std::string message = refusal([&] { static_cast<void>(Tokenizer::open(path)); });
    CHECK(contains(message, path.string()));
    return message;
  };
  const std::string head = R"({"version":"1.0","model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2})";
  CHECK(contains(refused(R"({"model":{"type":"BPE","vocab":{"a":0,"a":1},"merges":[]}})"), "'a'"));
  CHECK(contains(refused(head + R"(,"merges":["a x"]}})"), "model.merges"));
  CHECK(refused(std::string(1'000'000, '[')) != "accepted");
  CHECK(refused(head + R"(,"merges":)" + std::string(1'000'000, '[')) != "accepted");
  CHECK(refused(R"({"normalizer":)" + std::string(1'000'000, '[')) != "accepted");
  CHECK(refused("{\"a\":\"\xFF\"}") != "accepted");

  std::string many = head + R"(,"merges":["a b")";
  for (int i = 1; i < 10'000'000; ++i) many += R"(,"a b")";
  many += "]}}";
  CHECK(processor_seconds([&] {
          CHECK(contains(refused(many), "model.merges: more than 7 merges"));
        }) < 5 * kSanitizerFactor);
}
