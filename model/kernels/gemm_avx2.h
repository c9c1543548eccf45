// Vectors of 256 bits, for gemm_body.h: included by gemm_avx2.cpp and pairs_avx2.cpp, each of which
// defines fma in front of it.

using V = __m256;
constexpr std::int64_t kLanes = 8;
constexpr int kRows = 6;
constexpr int kFewRowsGroup = 3;
template <typename T>
constexpr int kStep = sizeof(T) == 4 ? 4 : 8;

LANCET_INLINE V zero() { return _mm256_setzero_ps(); }
LANCET_INLINE V load(const float* p) { return _mm256_loadu_ps(p); }
LANCET_INLINE void store(float* p, V v) { _mm256_storeu_ps(p, v); }
LANCET_INLINE V broadcast(const float* p) { return _mm256_broadcast_ss(p); }
LANCET_INLINE V add(V a, V b) { return _mm256_add_ps(a, b); }
template <typename T>
LANCET_INLINE V widen(const T* p) {
  return widen_eight(p);
}

LANCET_INLINE __m256i first(std::int64_t n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
}
LANCET_INLINE V load_some(const float* p, std::int64_t n) {
  return _mm256_maskload_ps(p, first(n));
}
LANCET_INLINE void store_some(float* p, std::int64_t n, V v) {
  _mm256_maskstore_ps(p, first(n), v);
}

/// 16 bytes of the rows 0 and 4 at w, one in each 128-bit lane.
template <typename T>
LANCET_INLINE __m256i rows_0_4(const T* w, std::int64_t ldw) {
  const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(w));
  const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(w + 4 * ldw));
  return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

/// Transposes the 4 x 4 words of both 128-bit lanes: out[i] = word i of all 8 rows.
template <typename T>
LANCET_INLINE void transpose_words(const T* w, std::int64_t ldw, __m256i out[4]) {
  const __m256i r0 = rows_0_4(w, ldw);
  const __m256i r1 = rows_0_4(w + ldw, ldw);
  const __m256i r2 = rows_0_4(w + 2 * ldw, ldw);
  const __m256i r3 = rows_0_4(w + 3 * ldw, ldw);
  const __m256i low01 = _mm256_unpacklo_epi32(r0, r1);
  const __m256i high01 = _mm256_unpackhi_epi32(r0, r1);
  const __m256i low23 = _mm256_unpacklo_epi32(r2, r3);
  const __m256i high23 = _mm256_unpackhi_epi32(r2, r3);
  out[0] = _mm256_unpacklo_epi64(low01, low23);
  out[1] = _mm256_unpackhi_epi64(low01, low23);
  out[2] = _mm256_unpacklo_epi64(high01, high23);
  out[3] = _mm256_unpackhi_epi64(high01, high23);
}

LANCET_INLINE void transpose(const float* w, std::int64_t ldw, V* out) {
  __m256i words[4];
  transpose_words(w, ldw, words);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) out[i] = _mm256_castsi256_ps(words[i]);
}

LANCET_INLINE void transpose(const std::uint16_t* w, std::int64_t ldw, V* out) {
  __m256i words[4];  // pairs of elements
  transpose_words(w, ldw, words);
  const __m256i high = _mm256_set1_epi32(static_cast<int>(0xffff0000U));
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    out[2 * i] = _mm256_castsi256_ps(_mm256_slli_epi32(words[i], 16));
    out[2 * i + 1] = _mm256_castsi256_ps(_mm256_and_si256(words[i], high));
  }
}

LANCET_INLINE void transpose(const Half* w, std::int64_t ldw, V* out) {
  __m256i words[4];  // pairs of elements
  transpose_words(w, ldw, words);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m256i even = _mm256_and_si256(words[i], _mm256_set1_epi32(0xffff));
    const __m256i both =
        _mm256_permute4x64_epi64(_mm256_packus_epi32(even, _mm256_srli_epi32(words[i], 16)), 0xd8);
    out[2 * i] = _mm256_cvtph_ps(_mm256_castsi256_si128(both));
    out[2 * i + 1] = _mm256_cvtph_ps(_mm256_extracti128_si256(both, 1));
  }
}

constexpr std::int64_t kPasses = 2;  ///< of dot_lanes over a block

template <int kMr, typename T>
LANCET_INLINE void dot_lanes(const float* a, std::int64_t lda, const T* const* w,
                             std::int64_t count, Ahead& ahead, float* lanes) {
  for (int first_row = 0; first_row < 8; first_row += 4) {
    const T* const rows[4] = {w[first_row], w[first_row + 1], w[first_row + 2], w[first_row + 3]};
    V sum[extent(kMr)][4];
#pragma GCC unroll 3
    for (int i = 0; i < kMr; ++i) sum[i][0] = sum[i][1] = sum[i][2] = sum[i][3] = zero();
    for (std::int64_t k = 0; k + 8 <= count;) {
      ahead.fetch();
      const std::int64_t end = k + kFetchPiece < count ? k + kFetchPiece : count;
      for (; k + 8 <= end; k += 8) {
        V x[extent(kMr)];
#pragma GCC unroll 3
        for (int i = 0; i < kMr; ++i) x[i] = load(a + i * lda + k);
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {
          const V y = widen(rows[j] + k);
#pragma GCC unroll 3
          for (int i = 0; i < kMr; ++i) sum[i][j] = fma(x[i], y, sum[i][j]);
        }
      }
    }
#pragma GCC unroll 3
    for (int i = 0; i < kMr; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) store(lanes + (i * 8 + first_row + j) * kLanes, sum[i][j]);
    }
  }
}
