// AVX2 and FMA: a vector of 16 floats is two registers.
#if defined(__x86_64__)

#include <immintrin.h>

#include <cmath>
#include <limits>

#include "model/kernels/elementwise_kernels.h"

#define LANCET_TARGET target("avx2,fma")
#define LANCET_KERNEL __attribute__((LANCET_TARGET))
#define LANCET_INLINE __attribute__((LANCET_TARGET, always_inline)) inline

namespace lancet::kernels {
namespace {

struct V {
  __m256 low, high;
};

LANCET_INLINE __m256i first(std::int64_t n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n < 16 ? n : 16)), lane);
}
LANCET_INLINE V load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
LANCET_INLINE void store(float* p, V v) {
  _mm256_storeu_ps(p, v.low);
  _mm256_storeu_ps(p + 8, v.high);
}
LANCET_INLINE V load_some(const float* p, std::int64_t n) {
  return {_mm256_maskload_ps(p, first(n)),
          n > 8 ? _mm256_maskload_ps(p + 8, first(n - 8)) : _mm256_setzero_ps()};
}
LANCET_INLINE void store_some(float* p, std::int64_t n, V v) {
  _mm256_maskstore_ps(p, first(n), v.low);
  if (n > 8) _mm256_maskstore_ps(p + 8, first(n - 8), v.high);
}
LANCET_INLINE V fill_up(V v, std::int64_t n, float x) {
  const __m256 fill = _mm256_set1_ps(x);
  return {_mm256_blendv_ps(fill, v.low, _mm256_castsi256_ps(first(n))),
          _mm256_blendv_ps(fill, v.high, _mm256_castsi256_ps(first(n > 8 ? n - 8 : 0)))};
}
LANCET_INLINE V set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
LANCET_INLINE V add(V a, V b) {
  return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
LANCET_INLINE V sub(V a, V b) {
  return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}
LANCET_INLINE V mul(V a, V b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
LANCET_INLINE V div(V a, V b) {
  return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}
LANCET_INLINE V fma(V a, V b, V c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
LANCET_INLINE V larger(V a, V b) {
  return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}
LANCET_INLINE V smaller(V a, V b) {
  return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
}

LANCET_INLINE float tree_sum(V v) {
  const __m256 v8 = _mm256_add_ps(v.low, v.high);
  const __m128 v4 = _mm_add_ps(_mm256_castps256_ps128(v8), _mm256_extractf128_ps(v8, 1));
  const __m128 v2 = _mm_add_ps(v4, _mm_movehl_ps(v4, v4));
  return _mm_cvtss_f32(_mm_add_ss(v2, _mm_movehdup_ps(v2)));
}
LANCET_INLINE float tree_max(V v) {
  const __m256 v8 = _mm256_max_ps(v.low, v.high);
  const __m128 v4 = _mm_max_ps(_mm256_castps256_ps128(v8), _mm256_extractf128_ps(v8, 1));
  const __m128 v2 = _mm_max_ps(v4, _mm_movehl_ps(v4, v4));
  return _mm_cvtss_f32(_mm_max_ss(v2, _mm_movehdup_ps(v2)));
}

/// In two steps, so that neither power leaves the exponents of normal values; the first is exact.
LANCET_INLINE __m256 scale_power_8(__m256 p, __m256 t) {
  const __m256i bias = _mm256_set1_epi32(127);
  const __m256i n = _mm256_sub_epi32(_mm256_castps_si256(t), _mm256_set1_epi32(0x4b400000));
  const __m256i half = _mm256_srai_epi32(n, 1);
  const __m256i one = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
  const __m256i two = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(n, half), bias), 23);
  return _mm256_mul_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(one)), _mm256_castsi256_ps(two));
}
LANCET_INLINE V scale_power(V p, V t) {
  return {scale_power_8(p.low, t.low), scale_power_8(p.high, t.high)};
}

#include "model/kernels/elementwise_body.h"

}  // namespace

const ElementwiseTable elementwise_avx2{
    &exp_row_of,   &rms_norm_of,    &rms_norm_backward_of, &silu_mul_of,    &silu_mul_backward_of,
    &rope_half_of, &softmax_row_of, &softmax_backward_of,  &log_sum_exp_of, &decode_attention_of};

}  // namespace lancet::kernels

#endif
