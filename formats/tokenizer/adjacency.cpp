#include "formats/tokenizer/adjacency.h"

#include <bit>

#include "formats/tokenizer/unicode.h"

namespace lancet {
namespace {

constexpr std::size_t kCodePoints = 0x110000;

char32_t first_character(std::string_view piece) {
  std::size_t at = 0;
  return decode_at(piece.data(), at);
}

char32_t last_character(std::string_view piece) {
  std::size_t at = previous_start(piece.data(), piece.size());
  return decode_at(piece.data(), at);
}

}  // namespace

Adjacency::Adjacency(const Vocabulary& vocabulary, std::span<const Merge> merges,
                     bool lone_unknowns)
    : joined_(std::bit_ceil(merges.size() * 2 + 2), kFree),
      mask_(joined_.size() - 1),
      known_(kCodePoints, lone_unknowns) {
  for (const TokenId id : vocabulary.ids()) {
    const std::string_view piece = vocabulary.piece(id).value_or("");
    if (!piece.empty() && previous_start(piece.data(), piece.size()) == 0)
      known_[first_character(piece)] = true;
  }
  for (const Merge& merge : merges) {
    const std::string_view left = vocabulary.piece(merge.left).value_or("");
    const std::string_view right = vocabulary.piece(merge.right).value_or("");
    if (!left.empty() && !right.empty()) insert(last_character(left), first_character(right));
  }
  const auto character = [](std::uint32_t i) { return i < 128 ? char32_t{i} : U'\u2581'; };
  for (std::uint32_t row = 0; row < kFrequent; ++row) {
    for (std::uint32_t column = 0; column < kFrequent; ++column)
      near_[row * kFrequent + column] = may_join_rare(character(row), character(column));
  }
}

void Adjacency::insert(char32_t a, char32_t b) {
  const std::uint64_t key = key_of(a, b);
  std::size_t at = slot_of(key);
  while (joined_[at] != key && joined_[at] != kFree) at = (at + 1) & mask_;
  joined_[at] = key;
}

bool Adjacency::may_join_rare(char32_t a, char32_t b) const noexcept {
  if (!known_[a] || !known_[b]) return true;
  const std::uint64_t key = key_of(a, b);
  std::size_t at = slot_of(key);
  while (joined_[at] != key && joined_[at] != kFree) at = (at + 1) & mask_;
  return joined_[at] == key;
}

}  // namespace lancet
