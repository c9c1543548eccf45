#pragma once
// What gemm.cpp (tiling, dispatch) and the files of the instruction sets share.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "model/kernels/gemm.h"

namespace lancet::kernels {

inline constexpr std::int64_t kChains = 8;         ///< interleaved chains of a linear block
inline constexpr std::int64_t kLinearBlock = 640;  ///< longest block of K in a linear product
inline constexpr std::int64_t kGradBlock = 256;    ///< longest block of N in an input gradient
inline constexpr std::int64_t kPanelAlign = 32;    ///< columns of a tile: a multiple of this
inline constexpr std::int64_t kMaxTileColumns = 256;
inline constexpr std::int64_t kMaxRows = 14;     ///< rows of the largest micro-tile
inline constexpr std::int64_t kFetchPiece = 64;  ///< elements between two looks ahead, few rows
inline constexpr std::int64_t kStreamAhead =
    8192;  ///< bytes from a row to what is fetched, one row
/// Not a power of two, so that the rows fall on all cache sets.
inline constexpr std::int64_t kRowStride = kLinearBlock + 16;

/// An array bound.
constexpr std::size_t extent(std::int64_t n) { return static_cast<std::size_t>(n); }

/// Part [m0, m1) x [n0, n1) of C.
struct Tile {
  std::int64_t m0, m1, n0, n1;
};

/// C = 0: the product over an empty sum.
inline void clear(float* c, std::int64_t ldc, const Tile& tile) {
  for (std::int64_t i = tile.m0; i < tile.m1; ++i) {
    std::memset(c + i * ldc + tile.n0, 0,
                static_cast<std::size_t>(tile.n1 - tile.n0) * sizeof(float));
  }
}

constexpr std::int64_t min_of(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

/// Length of the blocks that a sum of `length` is cut into: equal, a multiple of kChains, at most
/// `longest`.
constexpr std::int64_t block_length(std::int64_t length, std::int64_t longest) {
  const std::int64_t blocks = (length + longest - 1) / longest;
  if (blocks == 0) return longest;
  return ((length + blocks - 1) / blocks + kChains - 1) / kChains * kChains;
}

/// The bits of an IEEE half.
enum class Half : std::uint16_t {};

/// Exact, all of them.
inline float widen_one(float w) { return w; }
inline float widen_one(std::uint16_t bf16) {
  return std::bit_cast<float>(std::uint32_t{bf16} << 16U);
}
inline float widen_one(Half w) {
  const auto bits = static_cast<std::uint32_t>(w);
  const std::uint32_t exponent = bits >> 10U & 31U, fraction = bits & 1023U;
  const float size =
      exponent == 0 ? static_cast<float>(fraction) * 0x1p-24F
                    : std::bit_cast<float>((exponent + (exponent == 31U ? 224U : 112U)) << 23U |
                                           fraction << 13U);
  return bits >> 15U != 0 ? -size : size;
}

/// Rows that a kernel will read soon, fetched into the second-level cache a few lines at a time
/// while it computes, so that memory is never asked for more than it gives.
class Ahead {
 public:
  /// `count` elements of each of `rows` rows, `stride` elements apart, over `calls` calls of
  /// fetch().
  template <typename T>
  Ahead(const T* first, std::int64_t stride, std::int64_t rows, std::int64_t count,
        std::int64_t calls)
      : row_(reinterpret_cast<const char*>(first)),
        stride_(stride * static_cast<std::int64_t>(sizeof(T))),
        lines_((count * static_cast<std::int64_t>(sizeof(T)) + kLine - 1) / kLine),
        left_(rows * lines_),
        step_((left_ + calls - 1) / calls) {}

  __attribute__((always_inline)) inline void fetch() {
    std::int64_t n = left_ < step_ ? left_ : step_;
    for (left_ -= n; n > 0; --n) {
      __builtin_prefetch(row_ + place_ * kLine, 0, 2);
      if (++place_ == lines_) {
        place_ = 0;
        row_ += stride_;
      }
    }
  }

 private:
  static constexpr std::int64_t kLine = 64;
  const char* row_;
  std::int64_t stride_, lines_, place_ = 0, left_, step_;
};

/// Per-thread buffers: a packed weight panel [columns / panel][block][panel] and the rows of one
/// micro-tile.
struct Scratch {
  alignas(64) float panel[kMaxTileColumns * kLinearBlock];
  alignas(64) float rows[kMaxRows * kRowStride];
  alignas(64) float total[kMaxRows * kPanelAlign];
};
Scratch& scratch();

/// Whether one to three rows take the rows of a matrix of 16 bits one after the other, as they do
/// those of float32: not on Intel's processors, where eight side by side, fetched ahead, take a
/// tenth less time. No bit depends on it.
bool streams_narrow_rows();

/// The kernels of one instruction set.
struct KernelTable {
  void (*linear_few)(const LinearJob&, const Tile&);  ///< few rows: streams W once, packs nothing
  void (*linear)(const LinearJob&, const Tile&);
  void (*input_grad)(const InputGradJob&, const Tile&);
};

/// Tile `index` of the job with kernels of this table.
void run_tile(const KernelTable& table, const LinearJob& job, std::int64_t index);
void run_tile(const KernelTable& table, const InputGradJob& job, std::int64_t index);

extern const KernelTable kernels_scalar;
extern const KernelTable kernels_avx2;
extern const KernelTable kernels_avx512;

}  // namespace lancet::kernels
