#pragma once
// Files that a command reads and files that it writes.

#include <filesystem>
#include <string_view>
#include <vector>

namespace lancet {

/// Throws kUsage where one of the files `written` is among those `read`, or stands there twice,
/// whatever names and links lead to it. Files need not exist.
void check_apart(std::string_view operation, const std::vector<std::filesystem::path>& read,
                 const std::vector<std::filesystem::path>& written);

}  // namespace lancet
