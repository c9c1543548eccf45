// What a run leaves: JSON lines that survive a resume, event frames, a page; and the measure of
// forgetting.

#include "distill/train/log.h"

#include <cmath>

#include "core/bytes.h"
#include "distill/train/abilities.h"
#include "distill/train/events.h"
#include "tests/core/scratch.h"
#include "tests/torch_catch.h"

using namespace lancet;
using test::Scratch;

namespace {

StepRecord step(std::int64_t number, double loss) {
  return {.step = number,
          .epoch = 0.1 * static_cast<double>(number),
          .loss = loss,
          .lr = 1e-4,
          .grad_norm = 2.5,
          .tokens = 100,
          .targets = 40,
          .tokens_per_second = 50,
          .seconds = 3,
          .more = {{"coverage", 0.75}}};
}

std::vector<Json> lines_of(const fs::path& path) {
  const std::string text = read_file(path);
  std::vector<Json> out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    out.push_back(Json::parse(text.substr(at, end - at)));
    at = end + 1;
  }
  return out;
}

fs::path event_file(const fs::path& folder) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().filename().string().starts_with("events.out.tfevents.")) return entry.path();
  }
  return {};
}

}  // namespace

TEST_CASE("log: CRC-32C gives the values of RFC 3720, B.4") {
  CHECK(crc32c(std::string(32, '\0')) == 0x8a9136aa);
  CHECK(crc32c(std::string(32, '\xff')) == 0x62a8ab43);
  CHECK(crc32c("123456789") == 0xe3069283);
  CHECK(masked_crc32c("123456789") == 0xc78ab0e5);
}

TEST_CASE("log: an event file is frames of length, its checksum, payload, its checksum") {
  const Scratch folder;
  {
    EventFile events(folder.path(), 0);
    events.scalars(7, {{"train/loss", 0.5}});
  }
  const std::string text = read_file(event_file(folder.path()));
  std::vector<std::string> payloads;
  for (std::size_t at = 0; at < text.size();) {
    REQUIRE(text.size() - at >= 16);
    const auto length = load_le<std::uint64_t>(text.data() + at);
    CHECK(load_le<std::uint32_t>(text.data() + at + 8) == masked_crc32c(text.substr(at, 8)));
    payloads.push_back(text.substr(at + 12, length));
    CHECK(load_le<std::uint32_t>(text.data() + at + 12 + length) == masked_crc32c(payloads.back()));
    at += 16 + length;
  }
  REQUIRE(payloads.size() == 3);
  CHECK(payloads[0].find("brain.Event:2") != std::string::npos);
  // {wall_time, step 0, session_log {status: START}}: what an earlier run left here is forgotten.
  CHECK(payloads[1].ends_with(std::string("\x10\0\x3a\x02\x08\x01", 6)));
  CHECK(payloads[2].find("train/loss") != std::string::npos);
}

TEST_CASE("log: a resumed run drops the steps that had not been saved, and a torn line") {
  const Scratch folder;
  std::vector<Json> echoed;
  {
    TrainLog log(
        {.folder = folder.path(), .echo = [&](const Json& line) { echoed.push_back(line); }});
    log.eval({.step = 0, .loss = 3.0, .targets = 10});
    for (int i = 1; i <= 5; ++i) log.step(step(i, 3.0 / i));
  }
  CHECK(echoed.size() == 6);
  CHECK(echoed[0]["loss"] == 3.0);
  CHECK(echoed[1]["coverage"] == 0.75);
  {
    const std::string whole = read_file(folder / "steps.jsonl");
    write_file(folder / "steps.jsonl", whole + "{\"step\": 6, \"lo");
  }
  TrainLog log({.folder = folder.path(), .resume_step = 3});
  log.step(step(4, 9.0));
  const auto lines = lines_of(folder / "steps.jsonl");
  REQUIRE(lines.size() == 5);
  CHECK(lines[3]["step"] == 3);
  CHECK(lines[4]["loss"] == 9.0);
  log.finish({.title = "a<b",
              .settings = {{"rank", 16}},
              .samples = {{"prompt", "wanted", "before", "<after>"}}});
  const std::string page = read_file(folder / "report.html");
  for (const char* text : {"a&lt;b", "Learning rate", "Coverage: the teacher", "&lt;after&gt;",
                           "held out", "polyline"})
    CHECK(page.find(text) != std::string::npos);
  CHECK(page.find("Forgetting") == std::string::npos);
  CHECK(page.find("http") == page.find("http://www.w3.org/2000/svg"));
}

TEST_CASE("log: without a folder nothing is written and everything is echoed") {
  int lines = 0;
  TrainLog log({.folder = {}, .echo = [&](const Json&) { ++lines; }});
  log.step(step(1, 1));
  log.finish({});
  CHECK(lines == 1);
}

TEST_CASE(
    "abilities: an item is passed when its answer is likelier for each byte than all others") {
  // A model that likes short continuations and the letter e.
  const auto ask = [](double liking) {
    return [liking](const std::vector<std::pair<std::string, std::string>>& pairs) {
      std::vector<TextProbability> out;
      for (const auto& [context, text] : pairs) {
        const auto letters = std::count(text.begin(), text.end(), 'e');
        out.push_back({-static_cast<double>(text.size()) + liking * static_cast<double>(letters),
                       static_cast<std::int64_t>(text.size())});
      }
      return out;
    };
  };
  const Abilities before = measure_abilities(ask(0.0)), after = measure_abilities(ask(0.5));
  CHECK(before.perplexity == Approx(std::exp(1.0)));
  CHECK(before.tokens > 4'000);
  REQUIRE(before.tests.size() >= 5);
  for (const auto& test : before.tests) {
    CHECK(test.items >= 10);
    CHECK(test.passed == 0);  // all alike: none is likelier
    CHECK(test.margin == Approx(0).margin(1e-12));
  }
  const Json report = forgetting_json(before, after);
  CHECK(report["perplexity"]["ratio"].get<double>() < 1);
  CHECK(report["tests"].size() == before.tests.size());
  int passed = 0;
  for (const Json& test : report["tests"]) passed += test["after"].get<int>();
  CHECK(passed > 10);
}
