#include "core/plain_path.h"

namespace lancet {
namespace {

namespace fs = std::filesystem;

/// The parent of `path`, which has no "." and no ".." but at its beginning.
fs::path parent_of(const fs::path& path) {
  if (path.empty() || path.filename() == "..") return path / "..";
  std::error_code error;
  if (fs::is_symlink(path, error)) {
    const fs::path target = fs::canonical(path, error);
    return error ? path / ".." : target.parent_path();
  }
  return path.parent_path();  // of the root: itself
}

}  // namespace

fs::path plain_path(const fs::path& path) {
  fs::path out;
  for (const fs::path& part : path) {
    if (part == "..") {
      out = parent_of(out);
    } else if (part != ".") {
      out /= part;
    }
  }
  return out.empty() && !path.empty() ? "." : out;
}

}  // namespace lancet
