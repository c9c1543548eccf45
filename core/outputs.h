#pragma once
// The places that one command reads and writes.

#include <string_view>
#include <utility>
#include <vector>

#include "core/file.h"

namespace lancet {

/// The option that names a place, and the place; "" = not given.
using NamedOutput = std::pair<std::string_view, fs::path>;

/// kUsage where two of them are one place, however it is spelt: the later would replace the
/// earlier.
void check_apart(std::string_view operation, const std::vector<NamedOutput>& outputs);

/// kUsage where one of the files `written` is among those `read`, or stands there twice, whatever
/// names and links lead to it. Files need not exist.
void check_apart(std::string_view operation, const std::vector<fs::path>& read,
                 const std::vector<fs::path>& written);

}  // namespace lancet
