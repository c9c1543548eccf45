#pragma once
// Large pages for activations.

#include <cstdint>

namespace lancet {

/// The heap grows by about so many bytes, untouched, and the system is told that they may be backed
/// by large pages: a training step walks over gigabytes, and each small page has to be cleared and
/// looked up by itself. Does nothing where the allocator's heap is not one piece.
void expect_heap(std::uint64_t bytes);

}  // namespace lancet
