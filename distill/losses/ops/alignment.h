#pragma once
// Rows of two tokenizations of one text that have read the same bytes.

#include <cstdint>
#include <span>
#include <vector>

namespace lancet::losses {

/// ours[i], theirs[j]: offset in the text where the token starts that row i (j) predicts,
/// ascending. For each of ours the first of theirs with the same offset, -1 where there is none.
/// Of several of ours at one offset (tokens without a byte of their own) only the first has one.
[[nodiscard]] std::vector<std::int64_t> aligned_rows(std::span<const std::uint64_t> ours,
                                                     std::span<const std::uint64_t> theirs);

}  // namespace lancet::losses
