#pragma once
// How long a merge will take, by doing a little of it: the arithmetic of one of its tensors,
// hashing, and a trial file on the disk of the result.

#include "core/file.h"
#include "merge/plan.h"

namespace lancet {

/// What a little of the work took, in seconds per byte of the result.
struct TrialRates {
  double work = 0;   ///< reading, arithmetic and hashing, with all threads
  double write = 0;  ///< of the disk
};
/// Work and writing go on side by side.
[[nodiscard]] double seconds_at(const TrialRates& rates, std::uint64_t bytes) noexcept;

/// True where the method works on matrices and the plan has no linear algebra: what is told of the
/// time leaves it out.
[[nodiscard]] bool leaves_out_linalg(const MergePlan& plan) noexcept;

/// Reads up to a few hundred MB of two tensors;
/// writes 32 MB beside `out` and removes them (where nothing can be written there, the disk counts
/// as infinitely fast).
[[nodiscard]] TrialRates try_merge(const MergePlan& plan, const fs::path& out);

/// Of a result that is copied or made tensor by tensor by write_model: hashing and writing one
/// after the other, tried beside `out` with 32 MB that are removed.
[[nodiscard]] TrialRates try_writing(const fs::path& out);

}  // namespace lancet
