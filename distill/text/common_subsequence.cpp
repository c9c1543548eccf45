#include "distill/text/common_subsequence.h"

#include <bit>
#include <unordered_map>

namespace lancet {

std::size_t common_subsequence(const std::vector<std::uint64_t>& a,
                               const std::vector<std::uint64_t>& b) {
  const std::size_t words = (a.size() + 63) / 64;
  if (words == 0 || b.empty()) return 0;
  std::unordered_map<std::uint64_t, std::vector<std::uint64_t>> places;  // value -> its bits in a
  for (std::size_t i = 0; i < a.size(); ++i) {
    auto& bits = places[a[i]];
    bits.resize(words);
    bits[i / 64] |= 1ULL << (i % 64);
  }
  // A zero bit i of `row` says that the best over a[0..i] is one more than over a[0..i-1].
  //   row' = (row + (row & m)) | (row & ~m)
  std::vector<std::uint64_t> row(words, ~0ULL);
  for (const std::uint64_t value : b) {
    const auto found = places.find(value);
    if (found == places.end()) continue;
    std::uint64_t carry = 0;
    for (std::size_t w = 0; w < words; ++w) {
      const std::uint64_t m = found->second[w], old = row[w], common = old & m;
      std::uint64_t sum = old + common;
      const std::uint64_t first = sum < old ? 1 : 0;
      sum += carry;
      carry = first | (sum < carry ? 1U : 0U);
      row[w] = sum | (old & ~m);
    }
  }
  std::size_t length = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    length += (row[i / 64] >> (i % 64) & 1U) == 0 ? 1U : 0U;
  return length;
}

}  // namespace lancet
