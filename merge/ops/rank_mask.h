#pragma once
// Bernoulli masks whose chances grow with the rank of an element in its row (DELLA), without
// sorting the rows: most random words decide whatever the rank; for the others a histogram of the
// magnitudes gives a span of ranks, and only where chance falls inside it is the rank counted.

#include <cstdint>
#include <span>

#include "merge/ops/vector.h"

namespace lancet::ops {

struct RankChance {
  double least = 0, step = 0;  ///< an element of rank r is kept with probability least + step r
};

/// What keep_by_rank needs beside a row: its width each.
struct RankScratch {
  std::span<std::uint32_t> bins, open, dropped;
};

/// x = 0 where words >> 8, of 2^24, is not below the element's chance. Ranks are those of `keys`
/// (magnitude_keys of x), 0 the smallest, equal ones by index. Zeros stay zero.
void keep_by_rank(Out x, std::span<const std::uint32_t> keys, std::span<const std::uint32_t> words,
                  const RankChance& chance, const RankScratch& scratch);
/// The same, what is kept divided by its chance.
void keep_by_rank_unbiased(Out x, std::span<const std::uint32_t> keys,
                           std::span<const std::uint32_t> words, const RankChance& chance);

/// Stable ascending ranks of the keys of one row: ranks[i] = how many keys are smaller, or equal
/// and before i.
void rank_row(std::span<const std::uint32_t> keys, std::span<std::uint32_t> ranks);

}  // namespace lancet::ops
