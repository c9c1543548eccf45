// Ids and texts against the `tokenizers` library, stored by tests/oracle/make_tokenizer_goldens.py.

#include <fmt/format.h>

#include "core/text.h"
#include "tests/catch.h"
#include "tokenizer_fixture.h"

using namespace lancet;
using namespace lancet::test;

namespace {

std::string repeat(const Json& unit_and_times) {
  const auto unit = unit_and_times.at(0).get<std::string>();
  std::string out;
  for (int i = unit_and_times.at(1).get<int>(); i > 0; --i) out += unit;
  return out;
}

std::string hash_ids(const std::vector<TokenId>& ids) {
  std::uint64_t value = 0xCBF29CE484222325;
  for (const TokenId id : ids) value = (value ^ static_cast<std::uint64_t>(id)) * 0x100000001B3;
  return fmt::format("{:016x}", value);
}

/// Number of lines in which we differ from the library; the first ones are shown.
int count_differences(const Tokenizer& tokenizer, const std::vector<Json>& lines) {
  int differences = 0;
  const auto expect = [&](bool same, const Json& line, const char* what) {
    if (same) return;
    if (++differences <= 5) UNSCOPED_INFO(what << " of " << printable(dump_json(line), 300));
  };
  for (const Json& line : lines) {
    if (line.contains("r")) {
      const std::vector<TokenId> ids = tokenizer.encode(repeat(line.at("r"))).ids;
      expect(ids.size() == line.at("n").get<std::size_t>() && hash_ids(ids) == line.at("h"), line,
             "long ids");
      continue;
    }
    const auto text = line.at("t").get<std::string>();
    const std::vector<TokenId> ids = ids_of(line);
    const std::string decoded = line.value("d", text);
    expect(tokenizer.encode(text).ids == ids, line, "ids");
    expect(tokenizer.decode(ids, false) == decoded, line, "text");
    expect(tokenizer.decode(ids, true) == line.value("s", decoded), line,
           "text without special tokens");
  }
  return differences;
}

int count_decoding_differences(const Tokenizer& tokenizer, const std::vector<Json>& lines) {
  int differences = 0;
  for (const Json& line : lines) {
    const std::vector<TokenId> ids = ids_of(line);
    const bool same =
        tokenizer.decode(ids, false) == line.at("d") && tokenizer.decode(ids, true) == line.at("s");
    if (!same && ++differences <= 5) UNSCOPED_INFO("text of " << printable(dump_json(line), 300));
  }
  return differences;
}

}  // namespace

TEST_CASE("tokenizer: ids and texts of real tokenizers equal the tokenizers library",
          "[tokenizer]") {
  if (const std::string missing = missing_for_goldens(); !missing.empty()) LANCET_SKIP(missing);
  if (const std::string missing = missing_model(); !missing.empty()) LANCET_SKIP(missing);
  const fs::path& goldens = unpacked("goldens");
  for (const std::string name : {"smollm2", "llama2", "llama3", "qwen3"}) {
    DYNAMIC_SECTION(name) {
      const Tokenizer tokenizer = real_tokenizer(name);
      const std::vector<Json> lines = read_lines(goldens / (name + ".jsonl"));
      REQUIRE(lines.size() > 5000);
      CHECK(count_differences(tokenizer, lines) == 0);
      CHECK(count_decoding_differences(tokenizer, read_lines(goldens / (name + ".ids.jsonl"))) ==
            0);
    }
  }
}

TEST_CASE("tokenizer: every pipeline piece gives the ids and texts of the tokenizers library",
          "[tokenizer]") {
  if (const std::string missing = missing_for_goldens(); !missing.empty()) LANCET_SKIP(missing);
  const fs::path& goldens = unpacked("goldens");
  const std::vector<std::string> names = synthetic_names();
  REQUIRE(names.size() >= 60);
  for (const std::string& name : names) {
    DYNAMIC_SECTION(name) {
      const fs::path base = goldens / "synthetic" / name;
      const Tokenizer tokenizer = load_tokenizer(base.string() + ".json");
      CHECK(count_differences(tokenizer, read_lines(base.string() + ".jsonl")) == 0);
      CHECK(count_decoding_differences(tokenizer, read_lines(base.string() + ".ids.jsonl")) == 0);
    }
  }
}

TEST_CASE("tokenizer: json() loads again as a tokenizer with the same ids", "[tokenizer]") {
  if (const std::string missing = missing_for_goldens(); !missing.empty()) LANCET_SKIP(missing);
  if (const std::string missing = missing_model(); !missing.empty()) LANCET_SKIP(missing);
  const fs::path& goldens = unpacked("goldens");
  const auto check = [](const Tokenizer& tokenizer, const std::vector<Json>& lines) {
    const Tokenizer again =
        Tokenizer::from_json(parse_json(dump_json(tokenizer.json()), "again"), "again");
    CHECK(again.vocab_size() == tokenizer.vocab_size());
    CHECK(again.json() == tokenizer.json());
    CHECK(count_differences(again, lines) == 0);
  };
  check(smollm2(), read_lines(goldens / "smollm2.jsonl"));
  for (const std::string& name : synthetic_names()) {
    const fs::path base = goldens / "synthetic" / name;
    INFO(name);
    check(load_tokenizer(base.string() + ".json"), read_lines(base.string() + ".jsonl"));
  }
}

TEST_CASE(
    "tokenizer: the pieces of a stream decoder join to the whole text, whatever prefix it ends at",
    "[tokenizer]") {
  if (const std::string missing = missing_for_goldens(); !missing.empty()) LANCET_SKIP(missing);
  if (const std::string missing = missing_model(); !missing.empty()) LANCET_SKIP(missing);
  const fs::path& goldens = unpacked("goldens");
  const auto check = [](const Tokenizer& tokenizer, const std::vector<Json>& lines,
                        bool skip_special) {
    int differences = 0;
    for (const Json& line : lines) {
      if (!line.contains("i") || line.at("i").size() > 60) continue;
      const std::vector<TokenId> ids = ids_of(line);
      StreamDecoder stream(tokenizer, skip_special);
      std::string text;
      for (std::size_t i = 0; i < ids.size(); ++i) {
        text += stream.push(ids[i]);
        StreamDecoder ended = stream;
        const std::vector<TokenId> prefix(ids.begin(),
                                          ids.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        const bool same = text + ended.finish() == tokenizer.decode(prefix, skip_special);
        if (!same && ++differences <= 3)
          UNSCOPED_INFO(i << " ids of " << printable(dump_json(line), 300));
      }
      const bool valid = !find_invalid_utf8(text);
      if (!valid && ++differences <= 3)
        UNSCOPED_INFO("invalid UTF-8 for " << printable(dump_json(line), 300));
    }
    CHECK(differences == 0);
  };
  for (const std::string name : {"smollm2", "llama3"}) {
    const Tokenizer tokenizer = real_tokenizer(name);
    std::vector<Json> lines = read_lines(goldens / (name + ".jsonl"));
    lines.resize(1500);
    check(tokenizer, lines, true);
    check(tokenizer, read_lines(goldens / (name + ".ids.jsonl")), false);
  }
  for (const std::string& name : synthetic_names()) {
    INFO(name);
    const fs::path base = goldens / "synthetic" / name;
    const Tokenizer tokenizer = load_tokenizer(base.string() + ".json");
    std::vector<Json> lines = read_lines(base.string() + ".jsonl");
    if (lines.size() > 150) lines.resize(150);
    check(tokenizer, lines, false);
    check(tokenizer, read_lines(base.string() + ".ids.jsonl"), true);
  }
}

TEST_CASE("tokenizer: spans of byte-level tokens tile the text and hold the bytes of their tokens",
          "[tokenizer]") {
  if (const std::string missing = missing_for_goldens(); !missing.empty()) LANCET_SKIP(missing);
  const fs::path& goldens = unpacked("goldens");
  const Tokenizer tokenizer = real_tokenizer("llama3");
  std::size_t tokens = 0;
  for (const Json& line : read_lines(goldens / "llama3.jsonl")) {
    if (!line.contains("t")) continue;
    const auto text = line.at("t").get<std::string>();
    const Encoding encoding = tokenizer.encode(text, false);
    REQUIRE(encoding.ids.size() == encoding.offsets.size());
    std::uint32_t at = 0;
    for (std::size_t i = 0; i < encoding.ids.size(); ++i) {
      const auto [begin, end] = encoding.offsets[i];
      REQUIRE(begin == at);
      REQUIRE(end > begin);
      at = end;
      const std::string_view covered = std::string_view(text).substr(begin, end - begin);
      REQUIRE(tokenizer.decode({encoding.ids[i]}, false) == utf8_lossy(covered));
      ++tokens;
    }
    REQUIRE(at == text.size());
  }
  CHECK(tokens > 50'000);
}

TEST_CASE("tokenizer: a token spells what it adds to a text, in both alphabets and as bytes") {
  if (const std::string reason = missing_for_goldens(); !reason.empty()) {
    WARN("SKIPPED: " + reason);
    return;
  }
  const Tokenizer level = real_tokenizer("llama3");
  CHECK(level.spelling(level.id("Ġthe").value()) == " the");
  CHECK(level.spelling(level.id("Ã").value()) == "\xC3");
  CHECK_FALSE(level.spelling(1 << 30).has_value());
  const Tokenizer piece = load_tokenizer(unpacked("llama2") / "llama2" / "tokenizer.json");
  CHECK(piece.spelling(piece.id("▁the").value()) == " the");
  CHECK(piece.spelling(piece.id("<0x0A>").value()) == "\n");
}
