#pragma once
// Products of bfloat16 rows with bfloat16 weights, two or 32 products and sums at a time where the
// processor has the instruction: AVX512_BF16, up to twice the speed of float32, and AMX, many
// times. What float32 rows lose by being rounded first is what PyTorch loses in bfloat16.
//
// Bits. C[i, j] has the same for any number of rows, tiles and threads. There are two orders:
//   Pairs: two neighbours along the sum are a pair; c + pair is fma(a0, w0, fma(a1, w1, c)) in
//     fp32. The order of pairs is that of elements in gemm.h with half the length.
//   Tiles, where the processor has AMX: the sum is cut into groups of 32 elements. The even ones
//     are one sequential FMA chain from +0, the odd ones another; their sum is added to C, one
//     group after the other; the first to +0, or to the old C.
// Every instruction set with the same order gives the same bits, but for subnormal numbers (below
// 1.2e-38), which the instructions take for zero. Error of both: as in gemm.h.
//
// With tiles each thread that runs them keeps 400 KiB and up to 192 bytes for each element of the
// longest sum until it ends.
//
// Sums must be of even length, rows of A, G and (in PairLinear) W at even distances and aligned to
// 4 bytes.

#include <cstdint>

#include "model/kernels/gemm.h"

namespace lancet::kernels {

/// C[M, N] (+)= A[M, K] W[N, K]^T, K even.
struct PairLinear {
  const std::uint16_t* a = nullptr;
  std::int64_t lda = 0;
  const std::uint16_t* w = nullptr;
  std::int64_t ldw = 0;
  float* c = nullptr;
  std::int64_t ldc = 0;
  std::int64_t m = 0, n = 0, k = 0;
  bool accumulate = false;
  std::int64_t workers = 8;
};

/// C[M, K] (+)= G[M, N] W[N, K], N even.
struct PairInputGrad {
  const std::uint16_t* g = nullptr;
  std::int64_t ldg = 0;
  const std::uint16_t* w = nullptr;
  std::int64_t ldw = 0;
  float* c = nullptr;
  std::int64_t ldc = 0;
  std::int64_t m = 0, n = 0, k = 0;
  bool accumulate = false;
  std::int64_t workers = 8;
};

/// The last two have the order of tiles; kTilesTwin is for tests.
enum class PairIsa { kScalar, kAvx2, kAvx512Bf16, kTilesTwin, kAmx };

[[nodiscard]] bool has_pair_isa(PairIsa isa) noexcept;
/// The fastest one of this processor. Only the two with instructions of their own, kAvx512Bf16 and
/// kAmx, are faster than products of float32 rows (gemm.h).
[[nodiscard]] PairIsa best_pair_isa() noexcept;

/// Throws kInternal for an odd sum or distance, and as the tile_count of gemm.h.
[[nodiscard]] std::int64_t tile_count(const PairLinear& job, PairIsa isa = best_pair_isa());
[[nodiscard]] std::int64_t tile_count(const PairInputGrad& job, PairIsa isa = best_pair_isa());

void run_tile(const PairLinear& job, std::int64_t index, PairIsa isa = best_pair_isa());
void run_tile(const PairInputGrad& job, std::int64_t index, PairIsa isa = best_pair_isa());

/// y = x in bfloat16, to nearest even; NaN stays NaN.
void round_bf16(const float* x, std::uint16_t* y, std::int64_t n);

}  // namespace lancet::kernels
