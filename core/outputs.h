#pragma once
// The places that one command writes to.

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

}  // namespace lancet
