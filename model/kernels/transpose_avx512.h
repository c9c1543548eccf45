// Transposing words of 16 rows: included behind <immintrin.h> and LANCET_INLINE.

/// 16 bytes of the rows 0, 4, 8, 12 at w, one in each 128-bit lane.
template <typename T>
LANCET_INLINE __m512i four_rows(const T* w, std::int64_t ldw) {
  const auto at = [](const T* p) { return reinterpret_cast<const __m128i*>(p); };
  __m512i v = _mm512_castsi128_si512(_mm_loadu_si128(at(w)));
  v = _mm512_inserti32x4(v, _mm_loadu_si128(at(w + 4 * ldw)), 1);
  v = _mm512_inserti32x4(v, _mm_loadu_si128(at(w + 8 * ldw)), 2);
  return _mm512_inserti32x4(v, _mm_loadu_si128(at(w + 12 * ldw)), 3);
}

/// Transposes the 4 x 4 words of every 128-bit lane: out[i] = word i of all 16 rows.
template <typename T>
LANCET_INLINE void transpose_words(const T* w, std::int64_t ldw, __m512i out[4]) {
  const __m512i r0 = four_rows(w, ldw);
  const __m512i r1 = four_rows(w + ldw, ldw);
  const __m512i r2 = four_rows(w + 2 * ldw, ldw);
  const __m512i r3 = four_rows(w + 3 * ldw, ldw);
  const __m512i low01 = _mm512_unpacklo_epi32(r0, r1);
  const __m512i high01 = _mm512_unpackhi_epi32(r0, r1);
  const __m512i low23 = _mm512_unpacklo_epi32(r2, r3);
  const __m512i high23 = _mm512_unpackhi_epi32(r2, r3);
  out[0] = _mm512_unpacklo_epi64(low01, low23);
  out[1] = _mm512_unpackhi_epi64(low01, low23);
  out[2] = _mm512_unpacklo_epi64(high01, high23);
  out[3] = _mm512_unpackhi_epi64(high01, high23);
}
