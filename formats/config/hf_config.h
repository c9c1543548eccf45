#pragma once
// config.json as the versions of transformers write it.

#include <string_view>

#include "core/json.h"

namespace lancet {

/// parse_json, but for a bare Infinity (Python's spelling, which JSON does not have; in
/// time_step_limit of Mamba 2), which becomes {"__float__": "Infinity"} as transformers 5 writes
/// it.
[[nodiscard]] Json parse_hf_config(std::string_view text, std::string_view source);

}  // namespace lancet
