#pragma once
// Paths without "." and "..", naming what the file system finds under them.

#include <filesystem>

namespace lancet {

/// As std::filesystem::path::lexically_normal, but ".." behind a link to a directory is the parent
/// of what the link leads to. Behind what is not there it takes one name away. Other links stay.
[[nodiscard]] std::filesystem::path plain_path(const std::filesystem::path& path);

}  // namespace lancet
