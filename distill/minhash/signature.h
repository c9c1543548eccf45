#pragma once
// MinHash signatures (Broder 1997) with datasketch's parameters: the same hash of a shingle (first
// four bytes of SHA-1), the same random permutations (numpy's RandomState), the same arithmetic
// (its product wraps at 2^64 before the remainder), hence the same values.
//   h_i(s) = min over shingles x of ((a_i sha(x) + b_i mod 2^64) mod (2^61 - 1)) mod 2^32
//   P[h_i(s) = h_i(t)] = Jaccard(s, t)

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace lancet {

using Signature = std::vector<std::uint32_t>;

class MinHash {
 public:
  /// `permutations` 1 to 4096.
  MinHash(std::size_t permutations, std::uint32_t seed);
  [[nodiscard]] std::size_t permutations() const noexcept { return count_; }
  /// All values are 2^32 - 1 for no shingles. The same bits with every instruction set.
  [[nodiscard]] Signature sign(const std::vector<std::string_view>& shingles) const;

 private:
  std::vector<std::uint64_t> a_, b_;  ///< filled up to a multiple of kLanes
  std::size_t count_ = 0;
};

/// Share of equal values: the estimate of the Jaccard similarity. Equal lengths, > 0.
[[nodiscard]] double similarity(std::span<const std::uint32_t> a,
                                std::span<const std::uint32_t> b) noexcept;

/// Runs of `size` code points of a text; the whole text when it has fewer; nothing when empty.
[[nodiscard]] std::vector<std::string_view> character_shingles(std::string_view text,
                                                               std::size_t size);
/// Runs of `size` words joined as they stand in the text (from the first word's begin to the last
/// one's end); all words when there are fewer. `words` are views into one text.
[[nodiscard]] std::vector<std::string_view> word_shingles(
    const std::vector<std::string_view>& words, std::size_t size);

}  // namespace lancet
