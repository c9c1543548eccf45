#pragma once
// How much memory one weight file of the result takes while it is made (merge/shard.h).

#include "merge/shard.h"

namespace lancet {

/// Stored bytes of a tensor's inputs.
[[nodiscard]] std::uint64_t input_bytes(const PlannedTensor& tensor);
/// Inputs up to this size stay mapped between the passes over them.
[[nodiscard]] inline std::uint64_t resident_limit(const ShardLimits& limits) {
  return limits.memory / 2;
}
/// What the statistics passes of one tensor may keep.
[[nodiscard]] inline std::uint64_t scratch_limit(const ShardLimits& limits) {
  return limits.memory / 16;
}
/// Bytes that stay mapped while a tensor is under way.
[[nodiscard]] std::uint64_t held_bytes(const MergePlan& plan, const PlannedTensor& tensor,
                                       const ShardLimits& limits);
/// Chunks of the result under way at a time.
[[nodiscard]] std::size_t slots_of(const ShardLimits& limits);

}  // namespace lancet
