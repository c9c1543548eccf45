#pragma once
// Bodies of merge/ops/keys.cpp, and of it alone, that compilers do not find by themselves: packing
// what a comparison selects, and bits from and to masks. Sizes are multiples of 16 keys (collect,
// find) or whole bytes of 8 elements (mark, keep).

#if defined(__x86_64__)

#include <immintrin.h>

#include <array>

#include "merge/ops/keys.h"

namespace lancet::ops {
namespace {

using Mask8 = std::array<std::uint8_t, 8>;

/// For every mask of 8 lanes the numbers of its set lanes, in order.
constexpr std::array<Mask8, 256> set_lanes() {
  std::array<Mask8, 256> out{};
  for (unsigned mask = 0; mask < 256; ++mask) {
    std::size_t at = 0;
    for (std::uint8_t lane = 0; lane < 8; ++lane) {
      if ((mask >> lane & 1U) != 0) out[mask][at++] = lane;
    }
  }
  return out;
}
alignas(64) inline constexpr std::array<Mask8, 256> kSetLanes = set_lanes();

inline std::size_t bits_of(unsigned mask) {
  return static_cast<std::size_t>(__builtin_popcount(mask));
}

#define LANCET_AVX2 [[gnu::target("avx2,popcnt")]]
#define LANCET_AVX512 [[gnu::target("avx512f,popcnt")]]

// Comparisons of AVX2 are signed: both sides are moved by 2^31.
inline constexpr std::uint32_t kSign = 0x80000000U;

LANCET_AVX2 inline __m256i all8(std::uint32_t v) { return _mm256_set1_epi32(static_cast<int>(v)); }
LANCET_AVX2 inline __m256i load8(const std::uint32_t* at) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
}
LANCET_AVX2 inline unsigned mask8(__m256i lanes) {
  return static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(lanes)));
}
LANCET_AVX2 inline __m256i lanes_of(unsigned mask) {
  return _mm256_cvtepu8_epi32(
      _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kSetLanes[mask].data())));
}
LANCET_AVX2 inline std::size_t sum8(__m256i counts) {
  std::array<std::uint32_t, 8> lanes{};
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes.data()), counts);
  std::size_t sum = 0;
  for (const std::uint32_t lane : lanes) sum += lane;
  return sum;
}

LANCET_AVX2 inline Collected collect_avx2(std::span<const std::uint32_t> keys, const Window& window,
                                          std::uint32_t* out) {
  const __m256i sign = all8(kSign), pivot = all8(window.pivot);
  const __m256i low = all8(window.low ^ kSign), high = all8(window.high ^ kSign);
  __m256i above_counts = _mm256_setzero_si256(), pivot_counts = _mm256_setzero_si256();
  std::size_t inside = 0;
  for (std::size_t i = 0; i < keys.size(); i += 8) {
    const __m256i key = load8(keys.data() + i), moved = _mm256_xor_si256(key, sign);
    const __m256i above = _mm256_cmpgt_epi32(moved, high);
    const __m256i pivots = _mm256_cmpeq_epi32(key, pivot);
    const __m256i out_of_it =
        _mm256_or_si256(_mm256_or_si256(above, pivots), _mm256_cmpgt_epi32(low, moved));
    above_counts = _mm256_sub_epi32(above_counts, above);
    pivot_counts = _mm256_sub_epi32(pivot_counts, pivots);
    const unsigned mask = mask8(out_of_it) ^ 0xFFU;
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + inside),
                        _mm256_permutevar8x32_epi32(key, lanes_of(mask)));
    inside += bits_of(mask);
  }
  return {inside, sum8(above_counts), sum8(pivot_counts)};
}

LANCET_AVX2 inline std::size_t find_avx2(std::span<const std::uint32_t> words,
                                         const std::uint32_t* keys, std::uint32_t low,
                                         std::uint32_t high, std::uint32_t* out) {
  const __m256i above = all8(low - 1), below = all8(high), zero = _mm256_setzero_si256();
  std::size_t count = 0;
  for (std::size_t i = 0; i < words.size(); i += 8) {
    const __m256i word = _mm256_srli_epi32(load8(words.data() + i), 8);
    const __m256i inside =
        _mm256_and_si256(_mm256_cmpgt_epi32(word, above), _mm256_cmpgt_epi32(below, word));
    const unsigned mask =
        mask8(_mm256_andnot_si256(_mm256_cmpeq_epi32(load8(keys + i), zero), inside));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + count),
                        _mm256_add_epi32(lanes_of(mask), all8(static_cast<std::uint32_t>(i))));
    count += bits_of(mask);
  }
  return count;
}

LANCET_AVX2 inline void mark_avx2(std::uint8_t* bits, const double* x, std::size_t bytes) {
  const __m256d zero = _mm256_setzero_pd();
  for (std::size_t b = 0; b < bytes; ++b, x += 8) {
    const int first = _mm256_movemask_pd(_mm256_cmp_pd(_mm256_loadu_pd(x), zero, _CMP_NEQ_UQ));
    const int second = _mm256_movemask_pd(_mm256_cmp_pd(_mm256_loadu_pd(x + 4), zero, _CMP_NEQ_UQ));
    bits[b] = static_cast<std::uint8_t>(first | second << 4);
  }
}

LANCET_AVX2 inline void mark_keys_avx2(std::uint8_t* bits, const std::uint32_t* keys,
                                       std::uint32_t low, std::uint32_t high, std::size_t bytes) {
  const __m256i sign = all8(kSign), above = all8(low ^ kSign), most = all8(high ^ kSign);
  for (std::size_t b = 0; b < bytes; ++b) {
    const __m256i key = _mm256_xor_si256(load8(keys + 8 * b), sign);
    bits[b] = static_cast<std::uint8_t>(
        mask8(_mm256_andnot_si256(_mm256_cmpgt_epi32(key, most), _mm256_cmpgt_epi32(key, above))));
  }
}

/// Four elements, whose bits in `all` are `own`.
LANCET_AVX2 inline void keep4(double* at, __m256i all, __m256i own) {
  const __m256i kept = _mm256_cmpeq_epi64(_mm256_and_si256(all, own), own);
  _mm256_storeu_pd(at, _mm256_and_pd(_mm256_loadu_pd(at), _mm256_castsi256_pd(kept)));
}
LANCET_AVX2 inline void keep_avx2(double* x, const std::uint8_t* bits, std::size_t bytes) {
  const __m256i lower = _mm256_setr_epi64x(1, 2, 4, 8), upper = _mm256_slli_epi64(lower, 4);
  for (std::size_t b = 0; b < bytes; ++b, x += 8) {
    const __m256i all = _mm256_set1_epi64x(bits[b]);
    keep4(x, all, lower);
    keep4(x + 4, all, upper);
  }
}

LANCET_AVX512 inline __m512i all16(std::uint32_t v) {
  return _mm512_set1_epi32(static_cast<int>(v));
}

LANCET_AVX512 inline Collected collect_avx512(std::span<const std::uint32_t> keys,
                                              const Window& window, std::uint32_t* out) {
  const __m512i low = all16(window.low), high = all16(window.high), pivot = all16(window.pivot);
  Collected found;
  for (std::size_t i = 0; i < keys.size(); i += 16) {
    const __m512i key = _mm512_loadu_si512(keys.data() + i);
    const unsigned above = _mm512_cmpgt_epu32_mask(key, high);
    const unsigned pivots = _mm512_cmpeq_epi32_mask(key, pivot);
    const unsigned inside = _mm512_cmpge_epu32_mask(key, low) & ~above & ~pivots;
    _mm512_storeu_si512(out + found.inside,
                        _mm512_maskz_compress_epi32(static_cast<__mmask16>(inside), key));
    found.inside += bits_of(inside);
    found.above += bits_of(above);
    found.pivots += bits_of(pivots);
  }
  return found;
}

LANCET_AVX512 inline std::size_t find_avx512(std::span<const std::uint32_t> words,
                                             const std::uint32_t* keys, std::uint32_t low,
                                             std::uint32_t high, std::uint32_t* out) {
  const __m512i least = all16(low), below = all16(high), step = all16(16);
  __m512i places = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  std::size_t count = 0;
  for (std::size_t i = 0; i < words.size(); i += 16) {
    const __m512i word = _mm512_srli_epi32(_mm512_loadu_si512(words.data() + i), 8);
    const __m512i key = _mm512_loadu_si512(keys + i);
    const __mmask16 some = _mm512_test_epi32_mask(key, key);
    const __mmask16 inside =
        _mm512_mask_cmplt_epu32_mask(_mm512_mask_cmpge_epu32_mask(some, word, least), word, below);
    _mm512_storeu_si512(out + count, _mm512_maskz_compress_epi32(inside, places));
    count += bits_of(inside);
    places = _mm512_add_epi32(places, step);
  }
  return count;
}

LANCET_AVX512 inline void mark_avx512(std::uint8_t* bits, const double* x, std::size_t bytes) {
  for (std::size_t b = 0; b < bytes; ++b)
    bits[b] = _mm512_cmp_pd_mask(_mm512_loadu_pd(x + 8 * b), _mm512_setzero_pd(), _CMP_NEQ_UQ);
}
LANCET_AVX512 inline void keep_avx512(double* x, const std::uint8_t* bits, std::size_t bytes) {
  for (std::size_t b = 0; b < bytes; ++b)
    _mm512_storeu_pd(x + 8 * b, _mm512_maskz_loadu_pd(bits[b], x + 8 * b));
}

#undef LANCET_AVX2
#undef LANCET_AVX512

}  // namespace
}  // namespace lancet::ops

#endif
