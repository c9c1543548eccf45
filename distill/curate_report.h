#pragma once
// The HTML page of a curation: counts, lengths before and after, samples of what went.

#include <string>

#include "core/json.h"

namespace lancet {

/// `result`: the JSON of curate() with samples in its filters.
[[nodiscard]] std::string curate_page(const Json& result);

}  // namespace lancet
