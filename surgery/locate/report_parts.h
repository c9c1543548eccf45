#pragma once
// Sections of the HTML page of `locate`, from the JSON of one verb.

#include <string>

#include "core/json.h"
#include "core/svg.h"

namespace lancet {

/// Tokens (subject marked with *) x layers.
[[nodiscard]] HeatMap token_map(const Json& fact, const Json& scores, const std::string& title,
                                const std::string& unit);

[[nodiscard]] std::string lens_section(const Json& result);
[[nodiscard]] std::string sweep_section(const Json& result);
[[nodiscard]] std::string neurons_section(const Json& fact);

}  // namespace lancet
