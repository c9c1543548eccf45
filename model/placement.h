#pragma once
// A model whose weights are too many for one GPU: its blocks in order over several of them. Hidden
// states go from one to the next; all that stands before and behind the blocks (embeddings, final
// norm, head) is on the first.

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include <ATen/ATen.h>

namespace lancet {

/// What a device has left for weights.
struct Room {
  at::Device device;
  std::uint64_t bytes = 0;
};

/// The device of every block: all on the first where everything fits there; else over the fewest of
/// the devices, the fullest of them as empty as it can be with blocks in order. `ends`: bytes of
/// what is on the first device anyway. kResource where they have not the room, with both numbers.
[[nodiscard]] std::vector<at::Device> place_blocks(std::span<const std::uint64_t> blocks,
                                                   std::uint64_t ends, std::span<const Room> rooms);

/// The GPUs that "cuda" or "auto" stand for, with nine tenths of the memory that is free on each;
/// none for any other word and where there is only one.
[[nodiscard]] std::vector<Room> device_rooms(std::string_view device);

}  // namespace lancet
