// Rows through whole curations: what is written, in what order, with which provenance.

#include "distill/curate.h"

#include <sstream>

#include "core/parallel.h"
#include "distill/rows/row.h"
#include "tests/catch.h"
#include "tests/core/scratch.h"

using namespace lancet;

namespace {

std::vector<std::string> lines_of(const fs::path& path) {
  std::istringstream in(read_file(path));
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::string sentence(int i) {
  std::string text;
  for (int w = 0; w < 30; ++w) text += "w" + std::to_string((i * 7919 + w * w * 31) % 100003) + " ";
  return text;
}

/// 4000 rows of which every third repeats an earlier one; about 1.5 MB.
std::string many_rows() {
  std::string text;
  for (int i = 0; i < 6000; ++i) {
    const int which = i % 3 == 2 ? i / 2 : i;
    text += Json{{"id", i},
                 {"prompt", sentence(which)},
                 {"completion",
                  sentence(which + 1) + std::string(static_cast<std::size_t>(i % 50), 'y')}}
                .dump() +
            "\n";
  }
  return text;
}

}  // namespace

TEST_CASE("curate: members stay as they were written, and every row tells where it came from") {
  const test::Scratch scratch;
  write_file(
      scratch / "a.jsonl",
      "{\"prompt\": \"p\\u00e9\", \"completion\":\"c\" , \"score\": 1.10e0, \"id\": \"x7\"}\n\n"
      "{\"text\":\"only text\",\"provenance\":{\"source\":\"older.jsonl\",\"line\":3}}\r\n");
  write_file(scratch / "b.jsonl", "{\"text\": \"last line without an end\"}");
  const Json result = curate(
      {.inputs = {scratch / "a.jsonl", scratch / "b.jsonl"},
       .output = scratch / "out.jsonl",
       .filters = {{.name = "validity", .settings = {}}, {.name = "exact", .settings = {}}}});
  CHECK(
      lines_of(scratch / "out.jsonl") ==
      std::vector<std::string>{
          R"({"prompt": "p\u00e9", "completion":"c", "score": 1.10e0, "id": "x7", "provenance": {"source":"a.jsonl","line":1,"id":"x7","filters":["validity","exact"]}})",
          R"({"text":"only text", "provenance": {"source":"a.jsonl","line":3,"filters":["validity","exact"],"before":{"source":"older.jsonl","line":3}}})",
          R"({"text": "last line without an end", "provenance": {"source":"b.jsonl","line":1,"filters":["validity","exact"]}})"});
  CHECK(result["rows_read"] == 3);
  CHECK(result["rows_written"] == 3);
  const Json manifest = read_json(scratch / "out.jsonl.lancet.json");
  CHECK(manifest["inputs"].size() == 2);
  CHECK(manifest["outputs"][0]["bytes"] == fs::file_size(scratch / "out.jsonl"));
}

TEST_CASE("curate: a bad row is named by file and line and the others are not lost") {
  const test::Scratch scratch;
  write_file(scratch / "in.jsonl",
             "{\"text\": \"good\"}\n{\"text\": \"torn\n[1]\n{\"text\": \"a\", \"text\": "
             "\"b\"}\n{\"text\": \"\xff\"}\n{\"messages\": 3}\n{\"text\": \"too\"}\n");
  CurateRequest request{.inputs = {scratch / "in.jsonl"}, .output = scratch / "out.jsonl"};
  const Json result = curate(request);
  CHECK(result["rows_written"] == 2);
  CHECK(result["bad_rows"] == 5);
  for (std::size_t i = 0; i < 5; ++i)
    CHECK(result["bad"][i].get<std::string>().find("in.jsonl:" + std::to_string(i + 2) + ":") !=
          std::string::npos);
  request.output = scratch / "strict.jsonl";
  request.strict = true;
  const auto error = test::error_of([&] { (void)curate(request); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kInput);
  CHECK(error->message().find("in.jsonl:2:") != std::string::npos);
  CHECK_FALSE(fs::exists(scratch / "strict.jsonl"));
  CHECK(scratch.entries() == 3);  // in, out, out's manifest
}

TEST_CASE(
    "curate: the output is the same for any number of threads, and equals the filters by hand",
    "[slow]") {
  const test::Scratch scratch;
  const std::string text = many_rows();
  write_file(scratch / "in.jsonl", text);
  const std::vector<FilterRequest> filters{
      {.name = "length", .settings = {{"max_characters", "430"}}},
      {.name = "exact", .settings = {}},
      {.name = "minhash", .settings = {{"threshold", "0.9"}}},
      {.name = "diversity", .settings = {{"fraction", "0.9"}, {"permutations", "16"}}},
      {.name = "exact", .settings = {{"part", "prompt"}}}};
  std::vector<std::string> outputs;
  for (const int threads : {1, 2, 5}) {
    parallel::set_threads(threads);
    const fs::path out = scratch / ("out" + std::to_string(threads) + ".jsonl");
    const Json result =
        curate({.inputs = {scratch / "in.jsonl"}, .output = out, .filters = filters});
    outputs.push_back(read_file(out));
    CHECK(result["filters"].size() == 5);
    std::uint64_t before = result["rows_read"].get<std::uint64_t>();
    CHECK(before == 6000);
    for (const Json& filter : result["filters"]) {
      CHECK(filter["seen"] == before);
      before -= filter["dropped"].get<std::uint64_t>();
    }
    CHECK(result["rows_written"] == before);
    CHECK(result["filters"][0]["dropped"].get<std::uint64_t>() > 0);
    CHECK(result["filters"][3]["dropped"].get<std::uint64_t>() > 0);
  }
  parallel::set_threads(0);
  CHECK(outputs[0] == outputs[1]);
  CHECK(outputs[0] == outputs[2]);
}

TEST_CASE("curate: batches cut lines nowhere, however long they are") {
  const test::Scratch scratch;
  std::string text;
  for (const std::size_t size : {10UL, 3UL << 20U, 5UL, 1UL << 20U, (1UL << 20U) - 12, 7UL})
    text += "{\"text\":\"" + std::string(size, 'a') + "\"}\n";
  write_file(scratch / "in.jsonl", text);
  CHECK(curate({.inputs = {scratch / "in.jsonl"},
                .output = scratch / "out.jsonl"})["rows_written"] == 6);
  const auto lines = lines_of(scratch / "out.jsonl");
  REQUIRE(lines.size() == 6);
  CHECK(parse_row(lines[1], "row").text().size() == 3UL << 20U);
  CHECK(lines[5].find("\"line\":6") != std::string::npos);
}

TEST_CASE("curate: the report shows counts and twenty samples, with their text escaped") {
  const test::Scratch scratch;
  std::string text;
  for (int i = 0; i < 100; ++i)
    text += Json{{"text", "<script>" + std::to_string(i)}}.dump() + "\n";
  write_file(scratch / "in.jsonl", text);
  const Json result = curate({.inputs = {scratch / "in.jsonl"},
                              .output = scratch / "out.jsonl",
                              .filters = {{.name = "length", .settings = {{"min_words", "3"}}}},
                              .report = scratch / "report.html"});
  CHECK(result["rows_written"] == 0);
  const std::string page = read_file(scratch / "report.html");
  CHECK(page.find("20 of 100 dropped rows") != std::string::npos);
  CHECK(page.find("<script>") == std::string::npos);
  CHECK(page.find("&lt;script&gt;") != std::string::npos);
}

TEST_CASE("curate: outputs that exist, inputs that are outputs and missing inputs are refused") {
  const test::Scratch scratch;
  write_file(scratch / "in.jsonl", "{\"text\": \"x\"}\n");
  CurateRequest request{.inputs = {scratch / "in.jsonl"}, .output = scratch / "in.jsonl"};
  CHECK(test::error_of([&] { (void)curate(request); })->kind() == ErrorKind::kUsage);
  request.output = scratch / "out.jsonl";
  write_file(request.output, "old");
  CHECK(test::error_of([&] { (void)curate(request); })->kind() == ErrorKind::kUsage);
  request.force = true;
  CHECK(curate(request)["rows_written"] == 1);
  request.inputs = {scratch / "missing.jsonl"};
  CHECK(test::error_of([&] { (void)curate(request); })->kind() == ErrorKind::kInput);
  request.inputs = {scratch / "in.jsonl"};
  request.plan = true;
  request.output = scratch / "planned.jsonl";
  CHECK(curate(request)["bytes_to_read"] == 14);
  CHECK_FALSE(fs::exists(request.output));
}

TEST_CASE("curate: an empty input gives an empty output") {
  const test::Scratch scratch;
  write_file(scratch / "in.jsonl", "");
  CHECK(curate({.inputs = {scratch / "in.jsonl"},
                .output = scratch / "out.jsonl",
                .filters = {{.name = "diversity", .settings = {{"keep", "3"}}}}})["rows_written"] ==
        0);
  CHECK(fs::file_size(scratch / "out.jsonl") == 0);
}
