#pragma once
// One weight file of the result, computed and written: statistics passes, arithmetic, hashing and
// writing of different tensors overlap, in memory that does not depend on their sizes.

#include <vector>

#include "core/progress.h"
#include "formats/model_writer.h"
#include "merge/plan.h"

namespace lancet {

/// What one run of the pipeline may use.
struct ShardLimits {
  std::uint64_t memory = 1ULL << 30;
};

/// Writes `tensors` (any order) as a safetensors file. The bytes do not depend on `limits` or
/// threads.
WrittenFile write_shard(const MergePlan& plan, const std::vector<const PlannedTensor*>& tensors,
                        const fs::path& path, const ShardLimits& limits, Progress& progress);

/// Seconds that the same takes for a trial: what is written to `path` (empty: nothing) is thrown
/// away.
[[nodiscard]] double try_shard(const MergePlan& plan,
                               const std::vector<const PlannedTensor*>& tensors,
                               const fs::path& path, const ShardLimits& limits);

/// Emits the bytes of one tensor in order, for writers of other forms.
void emit_tensor(const MergePlan& plan, const PlannedTensor& tensor, const ShardLimits& limits,
                 const std::function<void(Bytes)>& emit);

/// kResource, naming the tensor, where a method that holds whole matrices needs more than `limits`.
void check_memory(const MergePlan& plan, const ShardLimits& limits);

/// check_memory, and kResource where no run is as small as `limits`. The pipeline itself takes any
/// bound and keeps to it as far as it can.
void check_bound(const MergePlan& plan, const ShardLimits& limits);

/// Peak memory that write_shard is expected to need for this plan.
[[nodiscard]] std::uint64_t expected_memory(const MergePlan& plan, const ShardLimits& limits);

}  // namespace lancet
