// Tiles of the processor (AMX): 8192 products and sums by one instruction.
#if defined(__x86_64__)

// gcc 12 takes the undefined operands inside its own intrinsics for uninitialised variables.
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include <cstring>

#include "model/kernels/tiles.h"

#define LANCET_TARGET target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,amx-tile,amx-bf16")
#define LANCET_KERNEL __attribute__((LANCET_TARGET))
#define LANCET_INLINE __attribute__((LANCET_TARGET, always_inline)) inline

#define TILE_ZERO(t) _tile_zero(t)
#define TILE_LOAD(t, from, bytes) _tile_loadd(t, from, static_cast<unsigned long>(bytes))
#define TILE_STORE(t, to, bytes) _tile_stored(t, to, static_cast<unsigned long>(bytes))
#define TILE_SUM(t, a, b) _tile_dpbf16ps(t, a, b)

namespace lancet::kernels {
namespace {

#include "model/kernels/transpose_avx512.h"

LANCET_INLINE void turn_words(const std::uint16_t* from, std::int64_t stride,
                              std::uint32_t* words) {
#pragma GCC unroll 4
  for (int part = 0; part < 4; ++part) {
    __m512i four[4];
    transpose_words(from + part * 8, stride, four);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) _mm512_storeu_si512(words + (part * 4 + i) * 16, four[i]);
  }
}

LANCET_INLINE __m512i wide(const std::uint16_t* p) {
  return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
LANCET_INLINE void join_rows(const std::uint16_t* first, const std::uint16_t* second,
                             std::uint32_t* words) {
  _mm512_storeu_si512(words, _mm512_or_si512(wide(first), _mm512_slli_epi32(wide(second), 16)));
}

/// All eight tiles: 16 rows of 64 bytes.
LANCET_INLINE void begin_tiles() {
  alignas(64) std::uint8_t shape[64] = {1};  // the palette
  for (int t = 0; t < 8; ++t) {
    shape[16 + 2 * t] = 64;
    shape[48 + t] = 16;
  }
  _tile_loadconfig(shape);
}
LANCET_INLINE void end_tiles() { _tile_release(); }

#include "model/kernels/tiles_body.h"

}  // namespace

const TileTable tiles_amx{&linear_few, &linear, &input_grad};

}  // namespace lancet::kernels

#endif
