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

inline constexpr std::int64_t kSplitBlock = 640;  ///< longest block of a sum of split rows

/// Length of the blocks, whole groups of 32, that such a sum is cut into.
constexpr std::int64_t split_block(std::int64_t length) {
  const std::int64_t blocks = (length + kSplitBlock - 1) / kSplitBlock;
  if (blocks == 0) return kSplitBlock;
  return ((length + blocks - 1) / blocks + 31) / 32 * 32;
}

/// Those of one block for 32 x 32 of C: with the high terms, and with the others.
struct Sums {
  alignas(64) float high[32 * 32];
  alignas(64) float rest[32 * 32];
};

/// Per-thread buffers. A tile has 1 KiB.
class TileScratch {
 public:
  /// 32 rows of `distance` elements.
  std::uint16_t* rows(std::int64_t distance);
  /// m rows of A, turned, in groups of 32 elements.
  std::uint32_t* turned_rows(std::int64_t m, std::int64_t groups);
  std::uint16_t* split_rows(std::int64_t tiles);
  std::uint32_t* split_columns(std::int64_t tiles);

  alignas(64) std::uint32_t columns[kTileColumns * kTileBlock / 2];
  alignas(64) float corner[32 * 32];
  Sums sums, turned;

 private:
  GrowingBuffer rows_, turned_, split_rows_, split_columns_;
};

/// The kernels of the processor's tiles, or of their twin.
struct TileTable {
  void (*linear_few)(const PairLinear&, const Tile&, TileScratch&);  ///< streams W once
  void (*linear)(const PairLinear&, const Tile&, TileScratch&);
  void (*input_grad)(const PairInputGrad&, const Tile&, TileScratch&);
};

/// The same for rows of float32 with bfloat16 weights (gemm.h).
struct SplitTable {
  void (*linear_few)(const LinearJob&, const Tile&, TileScratch&);
  void (*linear)(const LinearJob&, const Tile&, TileScratch&);
  void (*input_grad)(const InputGradJob&, const Tile&, TileScratch&);
};

extern const SplitTable split_amx;
extern const SplitTable split_twin;
extern const TileTable tiles_amx;
extern const TileTable tiles_twin;

/// As those of pairs.h.
[[nodiscard]] std::int64_t count_in_tiles(const PairLinear& job);
[[nodiscard]] std::int64_t count_in_tiles(const PairInputGrad& job);
void run_in_tiles(const TileTable& table, const PairLinear& job, std::int64_t index);
void run_in_tiles(const TileTable& table, const PairInputGrad& job, std::int64_t index);

/// As those of gemm.h.
[[nodiscard]] std::int64_t count_in_tiles(const LinearJob& job);
[[nodiscard]] std::int64_t count_in_tiles(const InputGradJob& job);
void run_in_tiles(const SplitTable& table, const LinearJob& job, std::int64_t index);
void run_in_tiles(const SplitTable& table, const InputGradJob& job, std::int64_t index);

}  // namespace lancet::kernels
