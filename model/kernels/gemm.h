#pragma once
// Products with frozen row-major weights on the CPU, without LibTorch and without a second copy of
// the weights.
//
// Bits. Every product is fp32 with fused multiply-adds (16-bit weights are widened exactly) in an
// order that is fixed by the length of the sum alone, so C[i, j] has the same bits for any number
// of rows, any partition into tiles, any number of threads and every instruction set (AVX-512,
// AVX2, scalar):
//   LinearJob: K is cut into ceil(K / 640) blocks, equal but for the last, of a multiple of 8
//     elements. In a block, chain r (0..7) is the sequential FMA of the elements k = r (mod 8),
//     from +0; the block is ((chain 0 + chain 1) + ...) + chain 7.
//   InputGradJob: N is cut into ceil(N / 256) such blocks; a block is one sequential FMA chain.
// The blocks are added to C one after the other; the first is stored, or added to the old C.
//
// The order of tiles, where the processor has AMX, is up to three times as fast for many rows and
// gives other last bits. A number is the sum of three in bfloat16, its terms: the rounded number,
// what is left rounded, and the rest; weights of bfloat16 have one, of float16 two, so that a
// weight gives the same bits in any type. A product is that of the terms but for the smallest
// three of nine, all with a low term, which are below 2^-23 of it and none for 16-bit weights. The
// sum is cut into ceil(length / 640) equal blocks, but for the last, of a multiple of 32. In a
// block each group of 32 products is a pair of sequential FMA chains from +0, of the even elements
// and of the odd ones, which are added. One total takes the groups of a's high and w's high terms,
// another, group by group, low and high, middle and high, middle and middle, high and middle, high
// and low; the block is the sum of both. Subnormal numbers (below 1.2e-38) count as zero, and
// numbers from 3.39e38 on make NaN.
//
// Error: at most (length of the sum + 1) * 2^-24 * sum |a| |w|, in tiles 2^-23 * sum |a| |w| more
// for weights of float32.
//
// Parallelism is the caller's: tiles of one job may run in any order and at the same time. A job
// only borrows its pointers. Each thread that runs tiles keeps a scratch buffer of under 1 MiB
// until it ends; in the order of tiles 2 MiB, or 400 KiB and 192 bytes for each element of the
// longest sum where that is more.

#include <cstdint>

#include "model/kernels/isa.h"

namespace lancet::kernels {

enum class WeightType { kF32, kBF16, kF16 };

/// C[M, N] (+)= A[M, K] W[N, K]^T: a linear layer. Leading dimensions in elements; C overlaps
/// neither A nor W.
struct LinearJob {
  const float* a = nullptr;
  std::int64_t lda = 0;
  const void* w = nullptr;  ///< float, bfloat16 as uint16_t, or IEEE half
  WeightType type = WeightType::kF32;
  std::int64_t ldw = 0;
  float* c = nullptr;
  std::int64_t ldc = 0;
  std::int64_t m = 0, n = 0, k = 0;
  bool accumulate = false;   ///< add to C instead of writing it
  std::int64_t workers = 8;  ///< threads that will share the tiles: sizes them, changes no result
  bool tiles = false;        ///< the order of tiles
};

/// C[M, K] (+)= G[M, N] W[N, K]: the gradient of a linear layer with respect to its input.
struct InputGradJob {
  const float* g = nullptr;
  std::int64_t ldg = 0;
  const void* w = nullptr;
  WeightType type = WeightType::kF32;
  std::int64_t ldw = 0;
  float* c = nullptr;
  std::int64_t ldc = 0;
  std::int64_t m = 0, n = 0, k = 0;
  bool accumulate = false;
  std::int64_t workers = 8;
  bool tiles = false;
};

/// Lengths of the blocks that the sum of a linear product (over k) and of an input gradient (over
/// n) is cut into; the last may be shorter. A product taken block by block, accumulating, has the
/// bits of the whole one.
[[nodiscard]] std::int64_t linear_block(std::int64_t k, bool tiles) noexcept;
[[nodiscard]] std::int64_t input_grad_block(std::int64_t n, bool tiles) noexcept;

/// Whether the processor has AMX and the system lets this process use it.
[[nodiscard]] bool has_tiles() noexcept;

/// Number of independent tiles (0 where C is empty). Throws kInternal for a negative size or a row
/// longer than its leading dimension.
[[nodiscard]] std::int64_t tile_count(const LinearJob& job);
[[nodiscard]] std::int64_t tile_count(const InputGradJob& job);

/// Computes tile `index` of [0, tile_count(job)). `isa` must be one that has_isa() affirms. In the
/// order of tiles kScalar is its slow twin, which runs everywhere, and any other set is AMX.
void run_tile(const LinearJob& job, std::int64_t index, Isa isa = best_isa());
void run_tile(const InputGradJob& job, std::int64_t index, Isa isa = best_isa());

}  // namespace lancet::kernels
