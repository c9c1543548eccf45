#pragma once
// Philox4x32-10 (Salmon et al., SC'11): one block, and long runs of consecutive blocks.

#include <array>
#include <cstddef>
#include <cstdint>

namespace lancet {

/// One block: 10 rounds on a 128-bit counter with a 64-bit key.
[[nodiscard]] std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                                      std::array<std::uint32_t, 2> key) noexcept;

/// words[4 i + w] = word w of the block at counter {low(first + i), high(first + i), upper[0],
/// upper[1]}, i < blocks. The same words with every instruction set.
void philox_run(std::uint32_t* words, std::uint64_t first, std::size_t blocks,
                std::array<std::uint32_t, 2> upper, std::array<std::uint32_t, 2> key) noexcept;

}  // namespace lancet
