#pragma once
// JSON lines in: one value a line, errors name the line.

#include <functional>

#include "core/file.h"
#include "core/json.h"

namespace lancet {

/// The file that an option names: "-" is standard input.
[[nodiscard]] fs::path input_path(const fs::path& named);

/// Calls `each(value, line number)` for every non-empty line. Errors: kInput "FILE:LINE: ...".
void for_each_json_line(const fs::path& path,
                        const std::function<void(const Json&, std::size_t)>& each);

/// Every line of a text file (without its end), or the "text" of every line of a .jsonl.
[[nodiscard]] std::vector<std::string> read_texts(const fs::path& path);

}  // namespace lancet
