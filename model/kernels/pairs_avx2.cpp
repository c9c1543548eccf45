// AVX2 and FMA: the two products of a pair one after the other.
#if defined(__x86_64__)

#include <immintrin.h>

#include <array>
#include <cstring>
#include <type_traits>
#include <utility>

#include "model/kernels/pairs_kernels.h"

#define LANCET_TARGET target("avx2,fma,f16c")
#define LANCET_KERNEL __attribute__((LANCET_TARGET))
#define LANCET_INLINE __attribute__((LANCET_TARGET, always_inline)) inline

namespace lancet::kernels {
namespace {

constexpr bool kPairs = true;

LANCET_INLINE __m128 low(__m128 v) {
  return _mm_castsi128_ps(_mm_slli_epi32(_mm_castps_si128(v), 16));
}
LANCET_INLINE __m256 low(__m256 v) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(v), 16));
}
LANCET_INLINE __m128 fma(__m128 a, __m128 b, __m128 c) {
  const __m128 high = _mm_castsi128_ps(_mm_set1_epi32(static_cast<int>(0xffff0000U)));
  c = _mm_fmadd_ps(_mm_and_ps(a, high), _mm_and_ps(b, high), c);
  return _mm_fmadd_ps(low(a), low(b), c);
}
LANCET_INLINE __m256 fma(__m256 a, __m256 b, __m256 c) {
  const __m256 high = _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(0xffff0000U)));
  c = _mm256_fmadd_ps(_mm256_and_ps(a, high), _mm256_and_ps(b, high), c);
  return _mm256_fmadd_ps(low(a), low(b), c);
}

#include "model/kernels/gemm_x86.h"

#include "model/kernels/gemm_avx2.h"

LANCET_INLINE __m256i words(const std::uint16_t* p) {
  return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
/// Of columns of two rows of W, the words whose lower half is the first.
LANCET_INLINE V join(const std::uint16_t* p, const std::uint16_t* q) {
  return _mm256_castsi256_ps(_mm256_or_si256(words(p), _mm256_slli_epi32(words(q), 16)));
}

#include "model/kernels/gemm_body.h"

}  // namespace

const KernelTable pairs_avx2{&linear_few, &linear, &input_grad};

}  // namespace lancet::kernels

#endif
