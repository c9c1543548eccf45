#pragma once
// Magnitudes as integers, and masks: what ranks, thresholds and chance leave of a block. The same
// bits whatever the instruction set (core/dispatch.h). Spans of one call have equal size.

#include "merge/ops/vector.h"

namespace lancet::ops {

/// |x| rounded to float32, as its bits: ordered as the magnitudes are.
void magnitude_keys(std::span<std::uint32_t> keys, In x);
/// The same of a - b.
void difference_keys(std::span<std::uint32_t> keys, In a, In b);
/// How many keys are above `key`, and how many equal it; keys are below 2^31, as those above are.
[[nodiscard]] std::uint64_t count_above(std::span<const std::uint32_t> keys, std::uint32_t key);
[[nodiscard]] std::uint64_t count_equal(std::span<const std::uint32_t> keys, std::uint32_t key);
/// The largest of the keys, 0 of none.
[[nodiscard]] std::uint32_t largest_key(std::span<const std::uint32_t> keys);
/// ++counts[(key - origin) >> shift] for the keys that have a count.
void count_keys(std::span<std::uint64_t> counts, std::span<const std::uint32_t> keys,
                std::uint32_t origin, std::uint32_t shift);
/// The bin that holds rank `rank` when bins are walked from the top; `rank` becomes the rank inside
/// it. 0 where there is none.
[[nodiscard]] std::uint32_t bin_of_rank(std::span<const std::uint64_t> counts, std::uint64_t& rank);

/// Keys in [low, high] but for those that equal `pivot`.
struct Window {
  std::uint32_t low = 0, high = UINT32_MAX, pivot = UINT32_MAX;
};
struct Collected {
  std::size_t inside = 0, above = 0, pivots = 0;  ///< copied, above high, equal to the pivot
};
/// Copies the keys in the window to `out`, in order; `out` has room for all of them.
Collected collect_window(std::span<const std::uint32_t> keys, const Window& window,
                         std::uint32_t* out);
/// The places i, in order, of words with low <= words[i] >> 8 < high whose key is not 0; how many
/// there are. `out` has room for all of them.
std::size_t find_words(std::span<const std::uint32_t> words, std::span<const std::uint32_t> keys,
                       std::uint32_t low, std::uint32_t high, std::uint32_t* out);

/// x = 0 unless low < its key <= high.
void keep_magnitudes(Out x, std::uint32_t low, std::uint32_t high);
/// The smallest integer that the upper 24 bits of a random word must not reach to be below `chance`
/// of 2^24.
[[nodiscard]] std::uint32_t chance_limit(double chance);
/// x = 0 where words[i] >> 8 >= limit: a Bernoulli mask from random words.
void keep_random(Out x, std::span<const std::uint32_t> words, std::uint32_t limit);

/// Bit i % 8 of bits[i / 8]: x[i] is not 0; its key is in (low, high]. The bits behind the last
/// element are 0.
void mark_nonzero(std::span<std::uint8_t> bits, In x);
void mark_between(std::span<std::uint8_t> bits, std::span<const std::uint32_t> keys,
                  std::uint32_t low, std::uint32_t high);
/// x = 0 where its bit is 0.
void keep_marked(Out x, std::span<const std::uint8_t> bits);

}  // namespace lancet::ops
