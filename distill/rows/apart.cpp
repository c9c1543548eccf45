#include "distill/rows/apart.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"

namespace lancet {

namespace fs = std::filesystem;

void check_apart(std::string_view operation, const std::vector<std::filesystem::path>& read,
                 const std::vector<std::filesystem::path>& written) {
  const auto same = [](const fs::path& a, const fs::path& b) {
    std::error_code ignored;
    return fs::weakly_canonical(a, ignored) == fs::weakly_canonical(b, ignored) ||
           fs::equivalent(a, b, ignored);
  };
  for (std::size_t i = 0; i < written.size(); ++i) {
    const auto is_it = [&](const fs::path& other) { return same(other, written[i]); };
    const char* what = std::ranges::any_of(read, is_it) ? "is input and output" : nullptr;
    const auto later = written.begin() + static_cast<std::ptrdiff_t>(i) + 1;
    if (what == nullptr && std::any_of(later, written.end(), is_it))
      what = "would be written twice";
    if (what == nullptr) continue;
    fail(ErrorKind::kUsage, operation,
         fmt::format("'{}' {}", printable(written[i].string(), 400), what),
         "give every file a name of its own");
  }
}

}  // namespace lancet
