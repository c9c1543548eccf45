#pragma once
// Finds the keys at given ranks of a tensor's magnitudes, exactly, without sorting it.
//   1. a sample of blocks gives a window of keys around each rank
//   2. one pass counts the keys above each window and collects those inside it
//   3. the key is selected among the collected ones
// Where a window misses, or would collect more than the task's scratch memory, two histogram passes
// over the high and the low bits of the keys give the same result.

#include <cstdint>
#include <functional>
#include <vector>

#include "merge/task.h"

namespace lancet::ops {

/// What is ranked.
struct Series {
  /// Fills in the keys (magnitude_keys) of series s in a block, whose models must stay as they are.
  /// Empty: series s is model s.
  std::function<void(const Block& block, std::size_t s, std::span<std::uint32_t> keys)> keys;
  bool by_values = true;  ///< false: `keys` needs no values (MergeTask::scan_keys)
};
/// Series s are these values.
[[nodiscard]] Series series_of(std::function<In(const Block& block, std::size_t s)> values);

/// A rank that is asked for (0 = the largest magnitude; equal ones by index) and what stands there.
struct RankQuery {
  std::size_t series = 0;
  std::uint64_t rank = 0;
  /// Not negative: the rank is the last one of this share of the elements whose key is not 0, which
  /// are counted on the way; `empty` where that is none.
  double of_nonzero = -1;
  bool empty = false;
  std::uint32_t key = 0;  ///< magnitude_keys of the element at `rank`
  /// Elements that equal `key` have ranks up to `rank` in blocks before `block`, in `block` the
  /// first `ties` of them do, and behind it none. UINT64_MAX: all of them do.
  std::uint64_t block = UINT64_MAX;
  std::uint64_t ties = 0;
};

/// Fills in what stands at the ranks. `queries` are sorted by series; ranks are below the number of
/// elements.
void find_ranks(const MergeTask& task, const Series& series, std::vector<RankQuery>& queries);

}  // namespace lancet::ops
