#include "model/kernels/pairs.h"

#include <bit>
#include <string>

#include "core/dispatch.h"
#include "core/error.h"
#include "model/kernels/pairs_kernels.h"
#include "model/kernels/tiles.h"

namespace lancet::kernels {
namespace {

void check_even(const char* what, std::int64_t length, std::int64_t distance, bool aligned) {
  if (length % 2 == 0 && distance % 2 == 0 && aligned) return;
  fail(ErrorKind::kInternal, "matrix product",
       std::string("expected whole pairs along ") + what + ", found " + std::to_string(length) +
           " elements, rows " + std::to_string(distance) + " apart" +
           (aligned ? "" : ", not aligned to 4 bytes"));
}

bool is_aligned(const std::uint16_t* p) {
  return std::bit_cast<std::uintptr_t>(p) % alignof(float) == 0;
}

/// A pair is a word of float32's size: the kernels see a product of half the length.
LinearJob words_of(const PairLinear& job) {
  check_even("A", job.k, job.lda, is_aligned(job.a));
  check_even("W", job.k, job.ldw, is_aligned(job.w));
  return {reinterpret_cast<const float*>(job.a),
          job.lda / 2,
          job.w,
          WeightType::kF32,
          job.ldw / 2,
          job.c,
          job.ldc,
          job.m,
          job.n,
          job.k / 2,
          job.accumulate,
          job.workers};
}

InputGradJob words_of(const PairInputGrad& job) {
  check_even("G", job.n, job.ldg, is_aligned(job.g));
  return {reinterpret_cast<const float*>(job.g),
          job.ldg / 2,
          job.w,
          WeightType::kBF16,
          job.ldw,
          job.c,
          job.ldc,
          job.m,
          job.n / 2,
          job.k,
          job.accumulate,
          job.workers};
}

const KernelTable& kernels_of(PairIsa isa) {
#if defined(__x86_64__)
  if (isa == PairIsa::kAvx512Bf16) return pairs_avx512;
  if (isa == PairIsa::kAvx2) return pairs_avx2;
#endif
  static_cast<void>(isa);
  return pairs_scalar;
}

/// Of a set that has tiles.
const TileTable* tiles_of(PairIsa isa) {
#if defined(__x86_64__)
  if (isa == PairIsa::kAmx) return &tiles_amx;
#endif
  return isa == PairIsa::kTilesTwin ? &tiles_twin : nullptr;
}

struct RoundBf16 {
  LANCET_BODY static void run(const float* x, std::uint16_t* y, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) {
      const auto bits = std::bit_cast<std::uint32_t>(x[i]);
      const std::uint32_t rounded = bits + 0x7fffU + (bits >> 16U & 1U);
      const bool nan = (bits & 0x7fffffffU) > 0x7f800000U;
      y[i] = static_cast<std::uint16_t>((nan ? bits | 0x400000U : rounded) >> 16U);
    }
  }
};

}  // namespace

std::int64_t tile_count(const PairLinear& job, PairIsa isa) {
  const std::int64_t words = tile_count(words_of(job));  // which checks
  return tiles_of(isa) != nullptr ? count_in_tiles(job) : words;
}
std::int64_t tile_count(const PairInputGrad& job, PairIsa isa) {
  const std::int64_t words = tile_count(words_of(job));
  return tiles_of(isa) != nullptr ? count_in_tiles(job) : words;
}

bool has_pair_isa(PairIsa isa) noexcept {
#if defined(__x86_64__)
  if (isa == PairIsa::kAmx) return has_tiles();
  if (isa == PairIsa::kAvx512Bf16)
    return has_isa(Isa::kAvx512) && __builtin_cpu_supports("avx512bf16");
  if (isa == PairIsa::kAvx2) return has_isa(Isa::kAvx2);
#endif
  return isa == PairIsa::kScalar || isa == PairIsa::kTilesTwin;
}

PairIsa best_pair_isa() noexcept {
  static const PairIsa best = [] {
    for (const PairIsa isa : {PairIsa::kAmx, PairIsa::kAvx512Bf16, PairIsa::kAvx2}) {
      if (has_pair_isa(isa)) return isa;
    }
    return PairIsa::kScalar;
  }();
  return best;
}

void run_tile(const PairLinear& job, std::int64_t index, PairIsa isa) {
  if (const TileTable* tiles = tiles_of(isa)) return run_in_tiles(*tiles, job, index);
  run_tile(kernels_of(isa), words_of(job), index);
}

void run_tile(const PairInputGrad& job, std::int64_t index, PairIsa isa) {
  if (const TileTable* tiles = tiles_of(isa)) return run_in_tiles(*tiles, job, index);
  run_tile(kernels_of(isa), words_of(job), index);
}

void round_bf16(const float* x, std::uint16_t* y, std::int64_t n) { dispatch<RoundBf16>(x, y, n); }

}  // namespace lancet::kernels
