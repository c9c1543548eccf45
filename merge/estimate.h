#pragma once
// How long a merge will take, by doing a little of it: a part of the result is made as the run
// makes it, and thrown away.

#include "core/file.h"
#include "merge/plan.h"
#include "merge/shard.h"

namespace lancet {

/// True where the method works on matrices and the plan has no linear algebra to try.
[[nodiscard]] bool leaves_out_linalg(const MergePlan& plan) noexcept;

/// Seconds of the merge (not where leaves_out_linalg), from a trial: up to 200 MB of the result
/// from two places of it, made from the inputs as they lie (on disk or in the page cache), hashed
/// and written beside `out` (where nothing can be written there, the disk counts as infinitely
/// fast).
[[nodiscard]] double expected_seconds(const MergePlan& plan, const fs::path& out,
                                      const ShardLimits& limits);

/// Seconds of a result of that size that is copied or made tensor by tensor by write_model: hashing
/// and writing one after the other, tried beside `out` with 32 MB that are removed.
[[nodiscard]] double writing_seconds(const fs::path& out, std::uint64_t bytes);
/// Of reading and hashing files one after the other, from a trial of the hashing.
[[nodiscard]] double seconds_to_hash(std::uint64_t bytes);

}  // namespace lancet
