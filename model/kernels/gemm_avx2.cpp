// AVX2 and FMA: micro-tiles of 6 x 16, streaming groups of up to 3 rows.
#if defined(__x86_64__)

#include <immintrin.h>

#include <array>
#include <cstring>
#include <type_traits>
#include <utility>

#include "model/kernels/gemm_kernels.h"

#define LANCET_TARGET target("avx2,fma,f16c")
#define LANCET_KERNEL __attribute__((LANCET_TARGET))
#define LANCET_INLINE __attribute__((LANCET_TARGET, always_inline)) inline

namespace lancet::kernels {
namespace {

constexpr bool kPairs = false;

LANCET_INLINE __m128 fma(__m128 a, __m128 b, __m128 c) { return _mm_fmadd_ss(a, b, c); }
LANCET_INLINE __m256 fma(__m256 a, __m256 b, __m256 c) { return _mm256_fmadd_ps(a, b, c); }

#include "model/kernels/gemm_x86.h"

#include "model/kernels/gemm_avx2.h"

#include "model/kernels/gemm_body.h"

}  // namespace

const KernelTable kernels_avx2{&linear_few, &linear, &input_grad};

}  // namespace lancet::kernels

#endif
