#include "model/placement.h"

#include <numeric>
#include <optional>

#include <ATen/detail/CUDAHooksInterface.h>
#include <dlfcn.h>

#include "core/bytes.h"
#include "core/error.h"

namespace lancet {
namespace {

constexpr std::uint64_t kSteps = 256;  ///< of the share of a device that is filled

/// In order, each device up to `step` / kSteps of its room; none where that does not do.
std::optional<std::vector<at::Device>> fill(std::span<const std::uint64_t> blocks,
                                            std::uint64_t ends, std::span<const Room> rooms,
                                            std::uint64_t step) {
  std::vector<at::Device> out;
  std::size_t at = 0;
  std::uint64_t used = ends;
  const auto limit = [&] { return rooms[at].bytes - rooms[at].bytes / kSteps * (kSteps - step); };
  if (used > limit()) return std::nullopt;
  for (const std::uint64_t block : blocks) {
    while (used + block > limit()) {
      if (++at == rooms.size()) return std::nullopt;
      used = 0;
    }
    used += block;
    out.push_back(rooms[at].device);
  }
  return out;
}

}  // namespace

std::vector<at::Device> place_blocks(std::span<const std::uint64_t> blocks, std::uint64_t ends,
                                     std::span<const Room> rooms) {
  for (std::size_t count = 1; count <= rooms.size(); ++count) {
    const std::span<const Room> some = rooms.first(count);
    if (!fill(blocks, ends, some, kSteps)) continue;
    for (std::uint64_t step = 1; step <= kSteps; ++step) {
      if (auto placed = fill(blocks, ends, some, step)) return *placed;
    }
  }
  std::uint64_t room = 0;
  for (const Room& each : rooms) room += each.bytes;
  fail(ErrorKind::kResource, "model",
       "expected room for " + human_bytes(std::accumulate(blocks.begin(), blocks.end(), ends)) +
           " of weights in whole blocks, found " + human_bytes(room) + " on " +
           std::to_string(rooms.size()) + " devices",
       "--dtype bfloat16 halves them; --device cpu --offload disk reads them as they are used");
}

std::vector<Room> device_rooms(std::string_view device) {
  if ((device != "cuda" && device != "auto") || !at::hasCUDA()) return {};
  // In liblancet_cuda: LibTorch's CPU half cannot ask.
  using FreeBytes = int (*)(int, std::uint64_t*);
  const auto free_bytes =
      reinterpret_cast<FreeBytes>(::dlsym(RTLD_DEFAULT, "lancet_cuda_free_bytes"));
  const auto count = static_cast<std::uint8_t>(at::detail::getCUDAHooks().deviceCount());
  if (free_bytes == nullptr || count < 2) return {};
  std::vector<Room> rooms;
  for (int index = 0; index < count; ++index) {
    std::uint64_t bytes = 0;
    if (free_bytes(index, &bytes) != 0) continue;
    rooms.push_back({at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index)), bytes / 10 * 9});
  }
  return rooms;
}

}  // namespace lancet
