#pragma once
// Errors of a recipe or job that was written from options: they name the option, not a place in a
// text that nobody has seen.

#include <functional>
#include <string>
#include <string_view>

#include "core/error.h"

namespace lancet {

/// `error`, with the "options:LINE:COLUMN" of its message as the option that `option` names for the
/// key at that place of `text`, or before it; as it is where there is neither.
[[nodiscard]] Error of_options(const Error& error, std::string_view text,
                               const std::function<std::string(std::string_view key)>& option);

}  // namespace lancet
