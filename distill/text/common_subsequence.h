#pragma once
// Length of the longest common subsequence, 64 cells at a time (Hyyro 2004; Crochemore et al.
// 2001): O(|a| / 64 |b|).

#include <cstdint>
#include <vector>

namespace lancet {

[[nodiscard]] std::size_t common_subsequence(const std::vector<std::uint64_t>& a,
                                             const std::vector<std::uint64_t>& b);

}  // namespace lancet
