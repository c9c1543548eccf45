#include "distill/rows/test_set.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "distill/rows/row.h"
#include "distill/rows/row_files.h"

namespace lancet {
namespace {

std::string question_of(std::string_view line, const std::string& place) {
  const Row row = parse_row(line, place);
  for (const char* key : {"question", "problem", "instruction", "input", "query"}) {
    const Json value = row.value(key);
    if (value.is_string()) return value.get<std::string>();
  }
  std::string text = row.text(row.kind == RowKind::kText ? RowPart::kAll : RowPart::kPrompt);
  if (text.empty()) {
    const Json prompt = row.value("prompt");
    if (prompt.is_string()) text = prompt.get<std::string>();
  }
  if (text.empty())
    fail(ErrorKind::kInput, "curate",
         fmt::format(
             "{}: expected question, problem, instruction, input, query, prompt, messages or "
             "text, found none",
             place));
  return text;
}

}  // namespace

std::vector<TestItem> read_test_set(const fs::path& path) {
  const bool json = path.extension() == ".jsonl" || path.extension() == ".json";
  const RowFiles file({path});
  std::vector<TestItem> items;
  std::uint64_t lines = 0;
  for (std::size_t batch = 0; batch < file.batches(); ++batch) {
    lines += file.for_each_line(batch, [&](std::uint64_t number, std::string_view line) {
      std::string place = fmt::format("{}:{}", path.filename().string(), lines + number);
      std::string text = json ? question_of(line, place) : utf8_lossy(line);
      items.push_back({std::move(place), std::move(text)});
    });
  }
  return items;
}

}  // namespace lancet
