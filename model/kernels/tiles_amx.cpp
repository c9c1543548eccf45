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

#define LANCET_TARGET \
  target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,amx-tile,amx-bf16,avx512bf16")
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
  asm volatile("" : : "r"(shape) : "memory");  // which gcc 12 believes to be read in part
  _tile_loadconfig(shape);
}
LANCET_INLINE void end_tiles() { _tile_release(); }

#include "model/kernels/tiles_body.h"

LANCET_INLINE __m512 widened(__m256i high) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
}
/// Of 32 numbers: rounds them, and leaves what is lost.
LANCET_INLINE __m512i take_term(__m512& x, __m512& y) {
  const __m512i term = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(y, x));
  x = _mm512_sub_ps(x, widened(_mm512_castsi512_si256(term)));
  y = _mm512_sub_ps(y, widened(_mm512_extracti64x4_epi64(term, 1)));
  return term;
}
LANCET_INLINE void split(const float* from, std::uint16_t* high, std::uint16_t* middle,
                         std::uint16_t* low) {
  __m512 x = _mm512_loadu_ps(from), y = _mm512_loadu_ps(from + 16);
  _mm512_storeu_si512(high, take_term(x, y));
  _mm512_storeu_si512(middle, take_term(x, y));
  _mm512_storeu_si512(low, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(y, x)));
}
LANCET_INLINE __m512 wide(const Half* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
LANCET_INLINE void split(const Half* from, std::uint16_t* high, std::uint16_t* middle,
                         std::uint16_t*) {
  __m512 x = wide(from), y = wide(from + 16);
  _mm512_storeu_si512(high, take_term(x, y));
  _mm512_storeu_si512(middle, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(y, x)));
}

/// The numbers rounded, as floats.
LANCET_INLINE __m512i rounded(__m512 v) {
  return _mm512_slli_epi32(_mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v))),
                           16);
}
/// Words of pairs: rounds them, and leaves what is lost.
LANCET_INLINE __m512i take_words(__m512& first, __m512& second) {
  const __m512i a = rounded(first), b = rounded(second);
  first = _mm512_sub_ps(first, _mm512_castsi512_ps(a));
  second = _mm512_sub_ps(second, _mm512_castsi512_ps(b));
  return _mm512_or_si512(_mm512_srli_epi32(a, 16), b);
}
/// Words of the upper halves.
LANCET_INLINE __m512i upper_words(__m512 first, __m512 second) {
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000U));
  return _mm512_or_si512(_mm512_srli_epi32(_mm512_castps_si512(first), 16),
                         _mm512_and_si512(_mm512_castps_si512(second), upper));
}
/// The last terms are what is left: of at most eight digits, which need no rounding.
LANCET_INLINE void join(const float* first, const float* second, std::uint32_t* words,
                        std::int64_t next) {
  __m512 x = _mm512_loadu_ps(first), y = _mm512_loadu_ps(second);
  _mm512_storeu_si512(words, take_words(x, y));
  _mm512_storeu_si512(words + next, take_words(x, y));
  _mm512_storeu_si512(words + 2 * next, upper_words(x, y));
}
LANCET_INLINE void join(const Half* first, const Half* second, std::uint32_t* words,
                        std::int64_t next) {
  __m512 x = wide(first), y = wide(second);
  _mm512_storeu_si512(words, take_words(x, y));
  _mm512_storeu_si512(words + next, upper_words(x, y));
}
LANCET_INLINE void add_row(const float* from, const float* other, float* to, std::int64_t n,
                           bool add) {
  for (std::int64_t j = 0; j < n; j += 16) {
    const auto some = static_cast<__mmask16>(n - j < 16 ? (1U << (n - j)) - 1U : 0xffffU);
    __m512 sum = _mm512_add_ps(_mm512_loadu_ps(from + j), _mm512_loadu_ps(other + j));
    if (add) sum = _mm512_add_ps(_mm512_maskz_loadu_ps(some, to + j), sum);
    _mm512_mask_storeu_ps(to + j, some, sum);
  }
}

#include "model/kernels/split_body.h"

}  // namespace

const TileTable tiles_amx{&linear_few, &linear, &input_grad};
const SplitTable split_amx{&split_few, &split_linear, &split_grad};

}  // namespace lancet::kernels

#endif
