#include "cli/jsonl.h"

#include <fmt/format.h>

#include "core/error.h"

namespace lancet {

fs::path input_path(const fs::path& named) { return named == "-" ? "/dev/stdin" : named; }

void for_each_json_line(const fs::path& path,
                        const std::function<void(const Json&, std::size_t)>& each) {
  const std::string text = read_file(path, 4ULL << 30);
  std::size_t number = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = std::string_view(text).substr(at, end - at);
    at = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    each(parse_json(line, fmt::format("{}:{}", path.string(), number)), number);
  }
}

std::vector<std::string> read_texts(const fs::path& path) {
  if (path.extension() != ".jsonl") return {read_file(path, 4ULL << 30)};
  std::vector<std::string> texts;
  for_each_json_line(path, [&](const Json& value, std::size_t number) {
    texts.push_back(json_string(value, "text", fmt::format("{}:{}", path.string(), number)));
  });
  return texts;
}

}  // namespace lancet
