#include "formats/tokenizer/merge_table.h"

#include <bit>

namespace lancet {

MergeTable::MergeTable(std::span<const Merge> merges, std::span<const std::uint32_t> ranks) {
  const std::size_t size = std::bit_ceil(merges.size() * 2 + 2);
  slots_.assign(size, Slot{});
  mask_ = size - 1;
  shift_ = 64U - static_cast<unsigned>(std::countr_zero(size));
  constexpr std::size_t kAhead = 16;  // slots on their way from memory
  const auto key_at = [&](std::size_t i) { return key_of(merges[i].left, merges[i].right); };
  for (std::size_t i = 0; i < merges.size(); ++i) {
    if (i + kAhead < merges.size()) __builtin_prefetch(&slots_[slot_of(key_at(i + kAhead))], 1);
    const std::size_t rank = ranks.empty() ? i : ranks[i];
    const std::uint64_t key = key_at(i);
    std::size_t at = slot_of(key);
    while (slots_[at].key != key && slots_[at].key != kFree) at = (at + 1) & mask_;
    slots_[at] = {key, static_cast<std::uint32_t>(rank), merges[i].result};
  }
}

}  // namespace lancet
