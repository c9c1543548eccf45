#pragma once
// BPE merges: a flat hash from (left id, right id) to (rank, id of the result).

#include <cstdint>
#include <span>
#include <vector>

#include "formats/tokenizer/vocabulary.h"

namespace lancet {

struct Merge {
  TokenId left;
  TokenId right;
  TokenId result;
};

class MergeTable {
 public:
  static constexpr std::uint32_t kNoRank = UINT32_MAX;

  struct Slot {
    std::uint64_t key = kFree;
    std::uint32_t rank = kNoRank;  ///< kNoRank: no such merge
    TokenId result = -1;
  };

  MergeTable() = default;
  /// Ranks of the merges; where none are given, their indices. Of a pair that occurs twice the last
  /// one counts, as in the library.
  explicit MergeTable(std::span<const Merge> merges, std::span<const std::uint32_t> ranks = {});

  [[nodiscard]] const Slot& find(TokenId left, TokenId right) const noexcept {
    const std::uint64_t key = key_of(left, right);
    std::size_t at = slot_of(key);
    while (slots_[at].key != key && slots_[at].key != kFree) at = (at + 1) & mask_;
    return slots_[at];
  }

 private:
  static constexpr std::uint64_t kFree = UINT64_MAX;  // ids are not negative: no pair has this key

  static std::uint64_t key_of(TokenId left, TokenId right) noexcept {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32U |
           static_cast<std::uint32_t>(right);
  }
  [[nodiscard]] std::size_t slot_of(std::uint64_t key) const noexcept {
    return (key * 0x9E3779B97F4A7C15ULL ^ (key >> 29U) * 0xD1B54A32D192ED03ULL) >> shift_;
  }

  std::vector<Slot> slots_ = std::vector<Slot>(2);
  std::size_t mask_ = 1;
  unsigned shift_ = 63;
};

}  // namespace lancet
