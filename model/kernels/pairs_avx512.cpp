// AVX-512 with products of bfloat16 pairs: one instruction for two products and sums.
#if defined(__x86_64__)

// gcc 12 takes the undefined operands inside its own intrinsics for uninitialised variables.
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include <array>
#include <bit>
#include <cstring>
#include <type_traits>
#include <utility>

#include "model/kernels/pairs_kernels.h"

#define LANCET_TARGET target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")
#define LANCET_KERNEL __attribute__((LANCET_TARGET))
#define LANCET_INLINE __attribute__((LANCET_TARGET, always_inline)) inline

namespace lancet::kernels {
namespace {

constexpr bool kPairs = true;

LANCET_INLINE __m128 fma(__m128 a, __m128 b, __m128 c) {
  return _mm_dpbf16_ps(c, (__m128bh)a, (__m128bh)b);
}
LANCET_INLINE __m256 fma(__m256 a, __m256 b, __m256 c) {
  return _mm256_dpbf16_ps(c, (__m256bh)a, (__m256bh)b);
}
LANCET_INLINE __m512 fma(__m512 a, __m512 b, __m512 c) {
  return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b);
}

#include "model/kernels/gemm_x86.h"

#include "model/kernels/gemm_avx512.h"

LANCET_INLINE __m512i words(const std::uint16_t* p) {
  return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
/// Of columns of two rows of W, the words whose lower half is the first.
LANCET_INLINE V join(const std::uint16_t* p, const std::uint16_t* q) {
  return _mm512_castsi512_ps(_mm512_or_si512(words(p), _mm512_slli_epi32(words(q), 16)));
}

#include "model/kernels/gemm_body.h"

}  // namespace

const KernelTable pairs_avx512{&linear_few, &linear, &input_grad};

}  // namespace lancet::kernels

#endif
