// Vectors of 512 bits, for gemm_body.h: included by gemm_avx512.cpp and pairs_avx512.cpp, each of
// which defines fma in front of it.

using V = __m512;
constexpr std::int64_t kLanes = 16;
constexpr int kRows = 14;
constexpr int kFewRowsGroup = 6;
template <typename T>
constexpr int kStep = sizeof(T) == 4 ? 4 : 8;

LANCET_INLINE V zero() { return _mm512_setzero_ps(); }
LANCET_INLINE V load(const float* p) { return _mm512_loadu_ps(p); }
LANCET_INLINE void store(float* p, V v) { _mm512_storeu_ps(p, v); }
LANCET_INLINE V broadcast(const float* p) { return _mm512_set1_ps(*p); }
LANCET_INLINE V add(V a, V b) { return _mm512_add_ps(a, b); }
LANCET_INLINE V widen(const float* p) { return load(p); }
LANCET_INLINE V bf16_to_float(__m256i v) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
}
LANCET_INLINE V widen(const std::uint16_t* p) {
  return bf16_to_float(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
LANCET_INLINE V widen(const Half* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

LANCET_INLINE __mmask16 first(std::int64_t n) { return static_cast<__mmask16>((1U << n) - 1U); }
LANCET_INLINE V load_some(const float* p, std::int64_t n) {
  return _mm512_maskz_loadu_ps(first(n), p);
}
LANCET_INLINE void store_some(float* p, std::int64_t n, V v) {
  _mm512_mask_storeu_ps(p, first(n), v);
}

#include "model/kernels/transpose_avx512.h"

LANCET_INLINE void transpose(const float* w, std::int64_t ldw, V* out) {
  __m512i words[4];
  transpose_words(w, ldw, words);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) out[i] = _mm512_castsi512_ps(words[i]);
}

LANCET_INLINE void transpose(const std::uint16_t* w, std::int64_t ldw, V* out) {
  __m512i words[4];  // pairs of elements
  transpose_words(w, ldw, words);
  const __m512i high = _mm512_set1_epi32(static_cast<int>(0xffff0000U));
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    out[2 * i] = _mm512_castsi512_ps(_mm512_slli_epi32(words[i], 16));
    out[2 * i + 1] = _mm512_castsi512_ps(_mm512_and_si512(words[i], high));
  }
}

LANCET_INLINE void transpose(const Half* w, std::int64_t ldw, V* out) {
  __m512i words[4];  // pairs of elements
  transpose_words(w, ldw, words);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    out[2 * i] = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(words[i]));
    out[2 * i + 1] = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(words[i], 16)));
  }
}

/// 8 elements of two rows, the second in the upper half.
LANCET_INLINE V two_rows(const float* w0, const float* w1) {
  return _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(w0)), _mm256_loadu_ps(w1), 1);
}
template <typename T>
LANCET_INLINE __m256i two_halves(const T* w0, const T* w1) {
  const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(w0));
  const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(w1));
  return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}
LANCET_INLINE V two_rows(const std::uint16_t* w0, const std::uint16_t* w1) {
  return bf16_to_float(two_halves(w0, w1));
}
LANCET_INLINE V two_rows(const Half* w0, const Half* w1) {
  return _mm512_cvtph_ps(two_halves(w0, w1));
}

constexpr std::int64_t kPasses = 1;  ///< of dot_lanes over a block

template <int kMr, typename T>
LANCET_INLINE void dot_lanes(const float* a, std::int64_t lda, const T* const* w,
                             std::int64_t count, Ahead& ahead, float* lanes) {
  const T* const rows[8] = {w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]};
  V sum[extent(kMr)][4];
#pragma GCC unroll 6
  for (int i = 0; i < kMr; ++i) sum[i][0] = sum[i][1] = sum[i][2] = sum[i][3] = zero();
  for (std::int64_t k = 0; k + 8 <= count;) {
    ahead.fetch();
    const std::int64_t end = k + kFetchPiece < count ? k + kFetchPiece : count;
    for (; k + 8 <= end; k += 8) {
      V pair[4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) pair[j] = two_rows(rows[2 * j] + k, rows[2 * j + 1] + k);
#pragma GCC unroll 6
      for (int i = 0; i < kMr; ++i) {
        const V x = _mm512_broadcast_f32x8(_mm256_loadu_ps(a + i * lda + k));
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) sum[i][j] = fma(x, pair[j], sum[i][j]);
      }
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < kMr; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) store(lanes + (i * 4 + j) * kLanes, sum[i][j]);
  }
}
