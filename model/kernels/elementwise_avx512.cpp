// AVX-512 (F, BW, DQ, VL).
#if defined(__x86_64__)

// gcc 12 takes the undefined operands inside its own intrinsics for uninitialised variables.
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include <cmath>
#include <limits>

#include "model/kernels/elementwise_kernels.h"

#define LANCET_TARGET target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
#define LANCET_KERNEL __attribute__((LANCET_TARGET))
#define LANCET_INLINE __attribute__((LANCET_TARGET, always_inline)) inline

namespace lancet::kernels {
namespace {

using V = __m512;

LANCET_INLINE __mmask16 first(std::int64_t n) {
  return static_cast<__mmask16>(n >= 16 ? 0xffffU : (1U << n) - 1U);
}
LANCET_INLINE V load(const float* p) { return _mm512_loadu_ps(p); }
LANCET_INLINE void store(float* p, V v) { _mm512_storeu_ps(p, v); }
LANCET_INLINE V load_some(const float* p, std::int64_t n) {
  return _mm512_maskz_loadu_ps(first(n), p);
}
LANCET_INLINE void store_some(float* p, std::int64_t n, V v) {
  _mm512_mask_storeu_ps(p, first(n), v);
}
LANCET_INLINE V fill_up(V v, std::int64_t n, float x) {
  return _mm512_mask_blend_ps(first(n), _mm512_set1_ps(x), v);
}
LANCET_INLINE V set1(float x) { return _mm512_set1_ps(x); }
LANCET_INLINE V add(V a, V b) { return _mm512_add_ps(a, b); }
LANCET_INLINE V sub(V a, V b) { return _mm512_sub_ps(a, b); }
LANCET_INLINE V mul(V a, V b) { return _mm512_mul_ps(a, b); }
LANCET_INLINE V div(V a, V b) { return _mm512_div_ps(a, b); }
LANCET_INLINE V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
LANCET_INLINE V larger(V a, V b) { return _mm512_max_ps(a, b); }
LANCET_INLINE V smaller(V a, V b) { return _mm512_min_ps(a, b); }

LANCET_INLINE float tree_sum(V v) {
  const __m256 v8 = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  const __m128 v4 = _mm_add_ps(_mm256_castps256_ps128(v8), _mm256_extractf128_ps(v8, 1));
  const __m128 v2 = _mm_add_ps(v4, _mm_movehl_ps(v4, v4));
  return _mm_cvtss_f32(_mm_add_ss(v2, _mm_movehdup_ps(v2)));
}
LANCET_INLINE float tree_max(V v) {
  const __m256 v8 = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  const __m128 v4 = _mm_max_ps(_mm256_castps256_ps128(v8), _mm256_extractf128_ps(v8, 1));
  const __m128 v2 = _mm_max_ps(v4, _mm_movehl_ps(v4, v4));
  return _mm_cvtss_f32(_mm_max_ss(v2, _mm_movehdup_ps(v2)));
}

LANCET_INLINE V scale_power(V p, V t) {
  const __m512i n = _mm512_sub_epi32(_mm512_castps_si512(t), _mm512_set1_epi32(0x4b400000));
  return _mm512_scalef_ps(p, _mm512_cvtepi32_ps(n));
}

#include "model/kernels/elementwise_body.h"

}  // namespace

const ElementwiseTable elementwise_avx512{
    &exp_row_of,   &rms_norm_of,    &rms_norm_backward_of, &silu_mul_of,    &silu_mul_backward_of,
    &rope_half_of, &softmax_row_of, &softmax_backward_of,  &log_sum_exp_of, &decode_attention_of};

}  // namespace lancet::kernels

#endif
