#pragma once
// How long a merge will take, by doing a little of it: the arithmetic of one of its tensors,
// hashing, and a trial file on the disk of the result.

#include "core/file.h"
#include "merge/plan.h"

namespace lancet {

/// Seconds. Reads up to a few hundred MB of one tensor; writes 32 MB beside `out` and removes them
/// (where nothing can be written there, the disk counts as infinitely fast).
[[nodiscard]] double expected_seconds(const MergePlan& plan, const fs::path& out);

}  // namespace lancet
