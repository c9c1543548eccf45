#include "distill/licence.h"

#include <algorithm>

#include "distill/curate.h"
#include "tests/catch.h"
#include "tests/core/scratch.h"

using namespace lancet;

namespace {

std::vector<std::string> ids(const std::string& model) {
  std::vector<std::string> out;
  for (const Licence* licence : licences_of(model)) out.emplace_back(licence->id);
  std::sort(out.begin(), out.end());
  return out;
}

LicenceDuties of(const std::string& teacher) {
  LicenceDuties duties;
  duties.add_teacher(teacher);
  return duties;
}

}  // namespace

TEST_CASE("licence: teachers are known by their names, and derived ones have both licences") {
  using Ids = std::vector<std::string>;
  CHECK(ids("meta-llama/Llama-3.1-405B-Instruct-FP8") == Ids{"llama3.1"});
  CHECK(ids("Meta-Llama-3-70B") == Ids{"llama3"});
  CHECK(ids("llama3.3:70b") == Ids{"llama3.3"});
  CHECK(ids("deepseek-ai/DeepSeek-R1") == Ids{"mit"});
  CHECK(ids("deepseek-ai/DeepSeek-R1-Distill-Llama-70B") == Ids{"llama3.3", "mit"});
  CHECK(ids("deepseek-ai/DeepSeek-V3") == Ids{"deepseek"});
  CHECK(ids("deepseek-ai/DeepSeek-V3.1") == Ids{"mit"});
  CHECK(ids("Qwen/Qwen2.5-72B-Instruct") == Ids{"qwen"});
  CHECK(ids("google/gemma-3-27b-it") == Ids{"gemma"});
  CHECK(ids("openai/gpt-oss-120b") == Ids{"apache-2.0"});
  CHECK(ids("gpt-4o") == Ids{"openai-terms"});
  CHECK(ids("claude-sonnet-4") == Ids{"anthropic-terms"});
  CHECK(ids("house-model-7b").empty());
  CHECK(ids("piccolo1-x").empty());  // "o1-" inside a word
  for (const Licence& licence : licence_table()) {
    INFO(licence.id);
    CHECK(licence.source.starts_with("https://"));
    CHECK(find_licence(licence.id) == &licence);
  }
}

TEST_CASE("licence: a model trained on Llama 3.1 outputs must have a name that begins with Llama") {
  LicenceDuties duties = of("meta-llama/Llama-3.1-405B-Instruct");
  CHECK_NOTHROW(duties.check("Llama-tiny-student", false));
  CHECK_NOTHROW(duties.check("", false));
  const auto error = test::error_of([&] { duties.check("tiny-student", false); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kUsage);
  CHECK(error->message().find("\"Llama\"") != std::string::npos);
  CHECK(error->hint() == "e.g. Llama-tiny-student");
  CHECK(duties.notice() ==
        "Llama 3.1 is licensed under the Llama 3.1 Community License, Copyright (c) Meta "
        "Platforms, Inc. All Rights Reserved.\n");
  CHECK(duties.card().find("Built with Llama") != std::string::npos);
}

TEST_CASE(
    "licence: terms that forbid the use need a person's word, which is recorded and travels") {
  for (const char* teacher : {"gpt-4o", "gemini-2.5-pro", "meta-llama/Llama-2-70b-chat"}) {
    LicenceDuties duties = of(teacher);
    INFO(teacher);
    CHECK(test::error_of([&] { duties.check("student", false); })->kind() == ErrorKind::kUsage);
    duties.check("", true);
    CHECK(duties.json()["accepted_terms_risk"].size() == 1);
    LicenceDuties later;
    later.add_json(duties.json(), "old");
    CHECK_NOTHROW(later.check("", false));
    CHECK(later.json() == duties.json());
  }
  LicenceDuties unknown = of("house-model");
  CHECK(unknown.unknown_teachers() == std::vector<std::string>{"house-model"});
  unknown.declare("cc-by-nc-4.0");
  CHECK(unknown.unknown_teachers().empty());
  CHECK(unknown.json()["duties"][0]["non_commercial"] == true);
}

TEST_CASE(
    "licence: the union of the inputs' duties and the named teachers stands beside the output") {
  const test::Scratch scratch;
  write_file(scratch / "a.jsonl", "{\"text\": \"x\"}\n");
  write_file(scratch / "b.jsonl", "{\"text\": \"y\"}\n");
  write_file(
      scratch / "b.jsonl.lancet.json",
      "{\"licence\": {\"teachers\": [\"google/gemma-3-27b-it\"], \"licences\": [\"gemma\"]}}");
  CurateRequest request{.inputs = {scratch / "a.jsonl", scratch / "b.jsonl"},
                        .output = scratch / "out.jsonl",
                        .teachers = {"Llama-3.1-405B"},
                        .model_name = "student"};
  CHECK(test::error_of([&] { (void)curate(request); })->kind() == ErrorKind::kUsage);
  CHECK_FALSE(fs::exists(scratch / "out.jsonl"));
  request.model_name = "Llama-student";
  (void)curate(request);
  const Json manifest = read_json(scratch / "out.jsonl.lancet.json");
  CHECK(manifest["licence"]["licences"] == Json::array({"gemma", "llama3.1"}));
  CHECK(read_file(scratch / "out.jsonl.NOTICE").find("Llama 3.1 is licensed") == 0);
  write_file(scratch / "b.jsonl.lancet.json", "{\"licence\": {\"teachers\": 7}}");
  request.force = true;
  CHECK(test::error_of([&] { (void)curate(request); })->kind() == ErrorKind::kInput);
}
