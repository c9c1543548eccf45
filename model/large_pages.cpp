#include "model/large_pages.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

namespace lancet {

void expect_heap(std::uint64_t bytes) {
  constexpr std::uint64_t kBlock = 16ULL << 20;  // below what the allocator maps by itself
  constexpr std::uintptr_t kPage = 2ULL << 20;
  std::vector<void*> blocks;
  for (std::uint64_t got = 0; got < bytes; got += kBlock) {
    void* const block = std::malloc(kBlock);
    if (block == nullptr) break;
    blocks.push_back(block);
  }
  if (!blocks.empty()) {
    const auto first = reinterpret_cast<std::uintptr_t>(*std::ranges::min_element(blocks));
    const auto last = reinterpret_cast<std::uintptr_t>(*std::ranges::max_element(blocks));
    const std::uintptr_t begin = (first + kPage - 1) / kPage * kPage;
    const std::uintptr_t end = reinterpret_cast<std::uintptr_t>(::sbrk(0)) / kPage * kPage;
    if (last < end && begin < end)
      ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
  }
  for (void* const block : blocks) std::free(block);
}

}  // namespace lancet
