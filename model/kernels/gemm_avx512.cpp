// AVX-512 (F, BW, DQ, VL): micro-tiles of 14 x 32, streaming groups of up to 6 rows.
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

#include "model/kernels/gemm_kernels.h"

#define LANCET_TARGET target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#define LANCET_KERNEL __attribute__((LANCET_TARGET))
#define LANCET_INLINE __attribute__((LANCET_TARGET, always_inline)) inline

namespace lancet::kernels {
namespace {

constexpr bool kPairs = false;

LANCET_INLINE __m128 fma(__m128 a, __m128 b, __m128 c) { return _mm_fmadd_ss(a, b, c); }
LANCET_INLINE __m256 fma(__m256 a, __m256 b, __m256 c) { return _mm256_fmadd_ps(a, b, c); }
LANCET_INLINE __m512 fma(__m512 a, __m512 b, __m512 c) { return _mm512_fmadd_ps(a, b, c); }

#include "model/kernels/gemm_x86.h"

#include "model/kernels/gemm_avx512.h"

#include "model/kernels/gemm_body.h"

}  // namespace

const KernelTable kernels_avx512{&linear_few, &linear, &input_grad};

}  // namespace lancet::kernels

#endif
