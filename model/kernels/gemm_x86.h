// Shared by the kernels of x86, each of which includes it in its unnamed namespace, behind fma of
// one, eight (and sixteen) floats.

/// Columns 4 * half .. 4 * half + 3 of an 8 x 8 matrix, transposed: column[i] holds its 8 rows.
LANCET_INLINE void four_columns(const float* matrix, int half, __m256 column[4]) {
  __m256 row[4];  // rows j and j + 4
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const float* const from = matrix + j * 8 + half * 4;
    row[j] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(from)),
                                  _mm_loadu_ps(from + 32), 1);
  }
  const __m256 low01 = _mm256_unpacklo_ps(row[0], row[1]);
  const __m256 high01 = _mm256_unpackhi_ps(row[0], row[1]);
  const __m256 low23 = _mm256_unpacklo_ps(row[2], row[3]);
  const __m256 high23 = _mm256_unpackhi_ps(row[2], row[3]);
  column[0] = _mm256_shuffle_ps(low01, low23, 0x44);
  column[1] = _mm256_shuffle_ps(low01, low23, 0xee);
  column[2] = _mm256_shuffle_ps(high01, high23, 0x44);
  column[3] = _mm256_shuffle_ps(high01, high23, 0xee);
}

/// out[j] = ((lanes[j][0] + lanes[j][1]) + ...) + lanes[j][7] for j = 0..7.
LANCET_INLINE void sum_lanes(const float* lanes, float* out) {
  __m256 column[8];
  four_columns(lanes, 0, column);
  four_columns(lanes, 1, column + 4);
  __m256 sum = column[0];
#pragma GCC unroll 7
  for (int i = 1; i < 8; ++i) sum = _mm256_add_ps(sum, column[i]);
  _mm256_storeu_ps(out, sum);
}

LANCET_INLINE __m256 widen_eight(const float* p) { return _mm256_loadu_ps(p); }
LANCET_INLINE __m256 widen_eight(const std::uint16_t* p) {
  const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
}

LANCET_INLINE __m256 widen_eight(const Half* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

/// The chains of one row of W with kMr rows of A, to lanes[i][chain] at distance `stride`. What
/// lies kStreamAhead bytes further is asked for: the processor's own prefetching reaches half of
/// the bandwidth on some.
template <int kMr, typename T>
LANCET_INLINE void dot_chains(const float* a, std::int64_t lda, const T* w, std::int64_t count,
                              float* lanes, std::int64_t stride) {
  __m256 sum[extent(kMr)];
#pragma GCC unroll 3
  for (int i = 0; i < kMr; ++i) sum[i] = _mm256_setzero_ps();
  constexpr std::int64_t kLine = 64 / static_cast<std::int64_t>(sizeof(T));
#pragma GCC unroll 8
  for (std::int64_t k = 0; k + 8 <= count; k += 8) {
    if (k % kLine == 0)
      __builtin_prefetch(reinterpret_cast<const char*>(w + k) + kStreamAhead, 0, 2);
    const __m256 y = widen_eight(w + k);
#pragma GCC unroll 3
    for (int i = 0; i < kMr; ++i) {
      sum[i] = fma(_mm256_loadu_ps(a + i * lda + k), y, sum[i]);
    }
  }
#pragma GCC unroll 3
  for (int i = 0; i < kMr; ++i) _mm256_storeu_ps(lanes + i * stride, sum[i]);
}

LANCET_INLINE float fma_one(float a, float b, float c) {
  return _mm_cvtss_f32(fma(_mm_set_ss(a), _mm_set_ss(b), _mm_set_ss(c)));
}
