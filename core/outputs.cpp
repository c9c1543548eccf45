#include "core/outputs.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"

namespace lancet {
namespace {

/// Absolute, links followed, without "." or a slash at the end.
fs::path place_of(const fs::path& path) {
  std::error_code unreadable;
  const fs::path whole = fs::absolute(path, unreadable);
  const fs::path followed = fs::weakly_canonical(whole, unreadable);
  const fs::path plain = (unreadable ? whole : followed).lexically_normal();
  return plain.has_filename() ? plain : plain.parent_path();
}

}  // namespace

void check_apart(std::string_view operation, const std::vector<NamedOutput>& outputs) {
  std::map<fs::path, std::string_view> seen;
  for (const auto& [option, path] : outputs) {
    if (path.empty()) continue;
    const auto [at, fresh] = seen.try_emplace(place_of(path), option);
    if (fresh) continue;
    fail(ErrorKind::kUsage, operation,
         fmt::format("expected a place each, found {} and {} both at {}", at->second, option,
                     printable(path.string())),
         "the later of them would replace the earlier");
  }
}

void check_apart(std::string_view operation, const std::vector<fs::path>& read,
                 const std::vector<fs::path>& written) {
  const auto same = [](const fs::path& a, const fs::path& b) {
    std::error_code ignored;
    return place_of(a) == place_of(b) || fs::equivalent(a, b, ignored);
  };
  for (auto file = written.begin(); file != written.end(); ++file) {
    const auto is_it = [&](const fs::path& other) { return same(other, *file); };
    const bool input = std::ranges::any_of(read, is_it);
    if (!input && std::none_of(file + 1, written.end(), is_it)) continue;
    fail(ErrorKind::kUsage, operation,
         fmt::format("'{}' {}", printable(file->string(), 400),
                     input ? "is input and output" : "would be written twice"),
         "give every file a name of its own");
  }
}

}  // namespace lancet
