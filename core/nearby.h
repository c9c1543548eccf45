#pragma once
// What to look at where a file or folder that was named is not there.

#include <string>

#include "core/file.h"

namespace lancet {

/// "looked for '/all/of/path'", with the folder on the way that does not exist and the nearest name
/// that does: a hint. Never throws.
[[nodiscard]] std::string nearby_hint(const fs::path& path);

}  // namespace lancet
