#pragma once
// A merge from plan to model on disk: shards, resuming, parts, side files, manifest.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"
#include "merge/plan.h"
#include "merge/shard.h"

namespace lancet {

struct RunOptions {
  std::uint64_t shard_size = 5'000'000'000;
  std::uint64_t memory = 1ULL << 30;
  bool force = false;    ///< replace an existing OUT
  bool restart = false;  ///< throw away what an interrupted merge into OUT left
  std::uint32_t
      part = 0,
      parts = 0;  ///< --part k/n: only the k-th part of the shards, nothing under the final name
  bool join = false;         ///< --join: all shards must be there
  bool hash_inputs = false;  ///< --hash-inputs: SHA-256 of every input file in lancet.json
  Json command;              ///< for lancet.json
};

/// The files of all inputs of a plan.
[[nodiscard]] std::vector<fs::path> files_read(const MergePlan& plan);

/// What a run would do: {plan, method, tensors, bytes_read, bytes_written, shards, peak_memory,
/// warnings}, from headers only; `timed` adds seconds (expected_seconds, null where the plan has no
/// linear algebra for a method that works by it). Refuses what the run refuses: OUT in the place of
/// an input (kUsage), a bound of memory that is too small (kResource).
[[nodiscard]] Json describe_merge(const MergePlan& plan, const fs::path& out,
                                  const RunOptions& options, bool timed);

/// OUT: a Hugging Face directory (resumable), *.safetensors or *.gguf. Returns {output, tensors,
/// bytes_read, bytes_written, seconds, read_gb_s, write_gb_s, peak_memory, resumed, warnings}.
Json run_merge(const RecipeFile& recipe, const MergePlan& plan, const fs::path& out,
               const RunOptions& options);

}  // namespace lancet
