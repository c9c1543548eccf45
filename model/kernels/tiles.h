#pragma once
// What pairs.cpp, the processor's tiles and their twin share.

#include <cstddef>
#include <cstdint>
#include <memory>

#include "model/kernels/gemm_kernels.h"
#include "model/kernels/pairs.h"

namespace lancet::kernels {

inline constexpr std::int64_t kTileBlock = 640;    ///< elements of a sum that are packed at once
inline constexpr std::int64_t kTileColumns = 256;  ///< of C that are packed at once

/// Memory on cache lines that grows and never shrinks.
class GrowingBuffer {
 public:
  std::byte* of(std::int64_t bytes);

 private:
  std::unique_ptr<std::byte[]> memory_;
  std::int64_t size_ = 0;
};

/// Per-thread buffers.
class TileScratch {
 public:
  /// 32 rows of `distance` elements.
  std::uint16_t* rows(std::int64_t distance);
  /// m rows of A, turned, in groups of 32 elements.
  std::uint32_t* turned_rows(std::int64_t m, std::int64_t groups);

  alignas(64) std::uint32_t columns[kTileColumns * kTileBlock / 2];
  alignas(64) float corner[32 * 32];

 private:
  GrowingBuffer rows_, turned_;
};

/// The kernels of the processor's tiles, or of their twin.
struct TileTable {
  void (*linear_few)(const PairLinear&, const Tile&, TileScratch&);  ///< streams W once
  void (*linear)(const PairLinear&, const Tile&, TileScratch&);
  void (*input_grad)(const PairInputGrad&, const Tile&, TileScratch&);
};

extern const TileTable tiles_amx;
extern const TileTable tiles_twin;

/// Whether the processor has tiles and the system lets this process use them.
[[nodiscard]] bool has_tiles() noexcept;

/// As those of pairs.h.
[[nodiscard]] std::int64_t count_in_tiles(const PairLinear& job);
[[nodiscard]] std::int64_t count_in_tiles(const PairInputGrad& job);
void run_in_tiles(const TileTable& table, const PairLinear& job, std::int64_t index);
void run_in_tiles(const TileTable& table, const PairInputGrad& job, std::int64_t index);

}  // namespace lancet::kernels
