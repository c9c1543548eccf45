#pragma once
// Where a text can be cut before BPE without changing its tokens: between characters that no merge
// brings together. Words of text that no pre-tokenizer splits (SentencePiece) become short, and can
// be cached.

#include <bitset>
#include <cstdint>
#include <span>
#include <vector>

#include "formats/tokenizer/merge_table.h"

namespace lancet {

class Adjacency {
 public:
  /// `lone_unknowns`: a character without a token becomes tokens that no merge takes (bytes).
  Adjacency(const Vocabulary& vocabulary, std::span<const Merge> merges, bool lone_unknowns);

  /// May tokens, or a run of unknown characters, reach across the place between `a` and `b`?
  [[nodiscard]] bool may_join(char32_t a, char32_t b) const noexcept {
    const std::uint32_t row = frequent(a);
    const std::uint32_t column = frequent(b);
    if (row < kFrequent && column < kFrequent) return near_[row * kFrequent + column];
    return may_join_rare(a, b);
  }

 private:
  static constexpr std::uint32_t kFrequent = 129;  ///< ASCII and U+2581
  static constexpr std::uint64_t kFree = UINT64_MAX;

  static std::uint32_t frequent(char32_t c) noexcept {
    return c < 0x80 ? static_cast<std::uint32_t>(c) : c == 0x2581 ? 128U : kFrequent;
  }
  static std::uint64_t key_of(char32_t a, char32_t b) noexcept {
    return static_cast<std::uint64_t>(a) << 32U | static_cast<std::uint64_t>(b);
  }
  [[nodiscard]] std::size_t slot_of(std::uint64_t key) const noexcept {
    return (key * 0x9E3779B97F4A7C15ULL >> 20U) & mask_;
  }
  void insert(char32_t a, char32_t b);
  [[nodiscard]] bool may_join_rare(char32_t a, char32_t b) const noexcept;

  std::vector<std::uint64_t> joined_;  ///< hash set of pairs that some merge brings together
  std::size_t mask_ = 0;
  std::vector<bool> known_;  ///< by code point: a token of its own
  std::bitset<std::size_t{kFrequent} * kFrequent> near_;
};

}  // namespace lancet
