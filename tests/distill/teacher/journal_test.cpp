#include "distill/teacher/journal.h"

#include <fstream>

#include <fmt/format.h>

#include "core/hash.h"
#include "tests/catch.h"
#include "tests/core/scratch.h"

using namespace lancet;
using test::error_of;
using test::Scratch;

namespace {

std::string key_of(int i) { return sha256_hex(fmt::format("request {}", i)); }

TeacherAnswer answer_of(int i) {
  TeacherAnswer out;
  out.text = fmt::format("answer {} \n\"quoted\" \xC3\xA9", i);
  out.finish = "stop";
  out.usage = {.prompt = 10, .completion = static_cast<std::uint64_t>(i)};
  return out;
}

void fill(const fs::path& path, int from, int to) {
  Journal journal(path);
  for (int i = from; i < to; ++i) journal.add(key_of(i), answer_of(i));
}

}  // namespace

TEST_CASE("journal: what was added is found by the next run, before and after it was written") {
  const Scratch scratch;
  {
    Journal journal(scratch / "j");
    for (int i = 0; i < 1000; ++i) journal.add(key_of(i), answer_of(i));
    CHECK(journal.find(key_of(999))->text == answer_of(999).text);  // not yet written
    journal.flush();
    CHECK(journal.find(key_of(999))->text == answer_of(999).text);
    CHECK_FALSE(journal.find(key_of(1000)));
    journal.add_lost({.requests = 3, .tokens = 70, .usd = 0.5});
  }
  const Journal again(scratch / "j");
  REQUIRE(again.size() == 1000);
  CHECK(again.answers() == 1000);
  CHECK(again.usage().prompt == 10000);
  CHECK(again.lost().requests == 3);
  CHECK(again.lost().usd == 0.5);
  for (int i = 0; i < 1000; ++i) {
    const auto found = again.find(key_of(i));
    REQUIRE(found);
    CHECK(found->text == answer_of(i).text);
    CHECK(found->usage.completion == static_cast<std::uint64_t>(i));
  }
}

TEST_CASE("journal: cut at any byte, it gives every line before the cut and goes on after it",
          "[slow]") {
  const Scratch scratch;
  fill(scratch / "whole", 0, 4);
  const std::string text = read_file(scratch / "whole");
  std::vector<std::size_t> ends;
  for (std::size_t at = 0; (at = text.find('\n', at)) != text.npos; ++at) ends.push_back(at + 1);
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    std::ofstream(scratch / "cut", std::ios::binary) << text.substr(0, cut);
    const auto whole = static_cast<std::size_t>(
        std::count_if(ends.begin(), ends.end(), [&](std::size_t end) { return end <= cut; }));
    {
      Journal journal(scratch / "cut");
      REQUIRE(journal.size() == whole);
      journal.add(key_of(77), answer_of(77));
    }
    const Journal again(scratch / "cut");
    REQUIRE(again.size() == whole + 1);
    REQUIRE(again.find(key_of(77))->text == answer_of(77).text);
  }
}

TEST_CASE(
    "journal: a flipped bit in the middle is refused by line, in the last line it is a tear") {
  const Scratch scratch;
  fill(scratch / "whole", 0, 5);
  const std::string text = read_file(scratch / "whole");
  const std::size_t second = text.find('\n') + 1;
  std::string damaged = text;
  damaged[second + 40] = static_cast<char>(damaged[second + 40] ^ 1);
  std::ofstream(scratch / "bad", std::ios::binary) << damaged;
  const auto error = error_of([&] { Journal journal(scratch / "bad"); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kInput);
  CHECK(error->message().find(":2: the line does not match its checksum") != std::string::npos);
  CHECK(read_file(scratch / "bad") == damaged);  // left as it was found

  damaged = text;
  damaged[text.size() - 5] = static_cast<char>(damaged[text.size() - 5] ^ 1);
  std::ofstream(scratch / "torn", std::ios::binary) << damaged;
  CHECK(Journal(scratch / "torn").size() == 4);
}

TEST_CASE("journal: a second process is refused while the first lives") {
  const Scratch scratch;
  const Journal first(scratch / "j");
  const auto error = error_of([&] { Journal second(scratch / "j"); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kResource);
}

TEST_CASE("journal: parts are read beside one's own, and never written") {
  const Scratch scratch;
  fill(scratch / "p1", 0, 10);
  fill(scratch / "p2", 10, 30);
  const std::string before = read_file(scratch / "p2");
  {
    Journal journal(scratch / "all", {scratch / "p1", scratch / "p2"});
    CHECK(journal.size() == 30);
    CHECK(journal.find(key_of(25))->text == answer_of(25).text);
    journal.add(key_of(25), answer_of(99));  // known: left as it is
    journal.add(key_of(40), answer_of(40));
  }
  CHECK(read_file(scratch / "p2") == before);
  CHECK(Journal(scratch / "all").size() == 1);
}

TEST_CASE("journal: of a key asked again after a failure the good answer counts") {
  const Scratch scratch;
  TeacherAnswer cut = answer_of(1);
  cut.ending = Ending::kLength;
  {
    Journal journal(scratch / "j");
    journal.add(key_of(1), cut);
    journal.add(key_of(2), answer_of(2));
  }
  {
    Journal journal(scratch / "j");
    CHECK(journal.find(key_of(1))->ending == Ending::kLength);
    CHECK(journal.forget_failures() == 1);
    CHECK_FALSE(journal.contains(key_of(1)));
    journal.add(key_of(1), answer_of(1));
  }
  const Journal again(scratch / "j");
  CHECK(again.size() == 2);
  CHECK(again.answers() == 3);  // all were paid for
  CHECK(again.find(key_of(1))->ending == Ending::kOk);
}

TEST_CASE("journal: log probabilities survive to the last bit of float32, with ids or with texts") {
  const Scratch scratch;
  TeacherAnswer with_ids = answer_of(1), with_texts = answer_of(2);
  for (int i = 0; i < 5; ++i) {
    TeacherToken token{.bytes = "", .id = i, .logprob = -0.1F * static_cast<float>(i)};
    TeacherToken text{.bytes = i == 2 ? "\xE2\x82" : "w", .logprob = -1.5};
    for (int k = 0; k <= i; ++k) {
      token.top.push_back({"", 100 + k, -0.3F * static_cast<float>(k)});
      text.top.push_back({std::string(1, static_cast<char>('a' + k)), -1, -0.25});
    }
    with_ids.tokens.push_back(token);
    with_texts.tokens.push_back(text);
  }
  {
    Journal journal(scratch / "j");
    journal.add(key_of(1), with_ids);
    journal.add(key_of(2), with_texts);
  }
  const Journal again(scratch / "j");
  for (const auto& [number, wanted] : {std::pair{1, &with_ids}, std::pair{2, &with_texts}}) {
    const auto found = again.find(key_of(number));
    REQUIRE(found->tokens.size() == 5);
    for (std::size_t i = 0; i < 5; ++i) {
      CHECK(found->tokens[i].id == wanted->tokens[i].id);
      CHECK(found->tokens[i].bytes == wanted->tokens[i].bytes);
      CHECK(static_cast<float>(found->tokens[i].logprob) ==
            static_cast<float>(wanted->tokens[i].logprob));
      REQUIRE(found->tokens[i].top.size() == i + 1);
      for (std::size_t k = 0; k <= i; ++k) {
        CHECK(found->tokens[i].top[k].id == wanted->tokens[i].top[k].id);
        CHECK(found->tokens[i].top[k].bytes == wanted->tokens[i].top[k].bytes);
      }
    }
  }
}
