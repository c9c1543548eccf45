#include "core/nearby.h"

#include <vector>

#include <fmt/format.h>

#include "core/plain_path.h"
#include "core/text.h"

namespace lancet {
namespace {

constexpr std::size_t kMostNames = 10'000;

/// Names in `folder`, at most so many; none where it cannot be read.
std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end;
       !error && it != end && names.size() < kMostNames; it.increment(error))
    names.push_back(it->path().filename().string());
  return names;
}

std::string quoted(const fs::path& path) { return "'" + printable(path.string(), 300) + "'"; }

}  // namespace

std::string nearby_hint(const fs::path& path) {
  std::error_code error;
  fs::path whole = plain_path(fs::absolute(path, error));
  if (error) return {};
  if (!whole.has_filename()) whole = whole.parent_path();  // "folder/"
  fs::path missing = whole;
  while (missing.has_relative_path() && !fs::exists(missing.parent_path(), error))
    missing = missing.parent_path();
  std::string hint = "looked for " + quoted(whole);
  if (missing != whole) hint += fmt::format("; there is no {}", quoted(missing));
  const std::vector<std::string> names = names_in(missing.parent_path());
  if (const auto found = nearest(missing.filename().string(), {names.begin(), names.end()}))
    hint += fmt::format("; did you mean {}?", quoted(missing.parent_path() / *found));
  return hint;
}

}  // namespace lancet
