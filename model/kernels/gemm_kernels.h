#pragma once
// What gemm.cpp (tiling, dispatch) and the files of the instruction sets share.

#include <bit>
#include <cstddef>
#include <cstdint>

#include "model/kernels/gemm.h"

namespace lancet::kernels {

inline constexpr std::int64_t kChains = 8;         ///< interleaved chains of a linear block
inline constexpr std::int64_t kLinearBlock = 640;  ///< longest block of K in a linear product
inline constexpr std::int64_t kGradBlock = 256;    ///< longest block of N in an input gradient
inline constexpr std::int64_t kPanelAlign = 32;    ///< columns of a tile: a multiple of this
inline constexpr std::int64_t kMaxTileColumns = 256;
inline constexpr std::int64_t kMaxRows = 14;  ///< rows of the largest micro-tile
/// Not a power of two, so that the rows fall on all cache sets.
inline constexpr std::int64_t kRowStride = kLinearBlock + 16;

/// An array bound.
constexpr std::size_t extent(std::int64_t n) { return static_cast<std::size_t>(n); }

/// Part [m0, m1) x [n0, n1) of C.
struct Tile {
  std::int64_t m0, m1, n0, n1;
};

/// Length of the blocks that a sum of `length` is cut into: equal, a multiple of kChains, at most
/// `longest`.
constexpr std::int64_t block_length(std::int64_t length, std::int64_t longest) {
  const std::int64_t blocks = (length + longest - 1) / longest;
  if (blocks == 0) return longest;
  return ((length + blocks - 1) / blocks + kChains - 1) / kChains * kChains;
}

inline float widen_one(float w) { return w; }
/// Exact.
inline float widen_one(std::uint16_t bf16) {
  return std::bit_cast<float>(std::uint32_t{bf16} << 16U);
}

/// Per-thread buffers: a packed weight panel [columns / panel][block][panel] and the rows of one
/// micro-tile.
struct Scratch {
  alignas(64) float panel[kMaxTileColumns * kLinearBlock];
  alignas(64) float rows[kMaxRows * kRowStride];
  alignas(64) float total[kMaxRows * kPanelAlign];
};
Scratch& scratch();

/// The kernels of one instruction set.
struct KernelTable {
  void (*linear_few)(const LinearJob&, const Tile&);  ///< few rows: streams W once, packs nothing
  void (*linear)(const LinearJob&, const Tile&);
  void (*input_grad)(const InputGradJob&, const Tile&);
};

extern const KernelTable kernels_scalar;
extern const KernelTable kernels_avx2;
extern const KernelTable kernels_avx512;

}  // namespace lancet::kernels
