// AVX2 + F16C twins. The functions carry their target themselves: the rest of the program stays
// baseline x86-64. No FMA: product and sum are rounded separately, as in the plain code.

#include "formats/quant/simd.h"

#include "core/bytes.h"
#include "formats/quant/half.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

#define LANCET_AVX2 __attribute__((target("avx2,f16c")))

namespace lancet::simd {
namespace {

LANCET_AVX2 float load_half(const std::uint8_t* at) {
  return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(load_le<std::uint16_t>(at))));
}

LANCET_AVX2 __m128i load16(const std::uint8_t* at) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
}

/// out[0..15] = d * q + m for 16 unsigned bytes q.
LANCET_AVX2 void affine16(__m128i q, __m256 d, __m256 m, float* out) {
  const __m256 first = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(q));
  const __m256 second = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(q, 8)));
  _mm256_storeu_ps(out, _mm256_add_ps(_mm256_mul_ps(d, first), m));
  _mm256_storeu_ps(out + 8, _mm256_add_ps(_mm256_mul_ps(d, second), m));
}

LANCET_AVX2 void q4_1(const std::uint8_t* in, std::size_t blocks, float* out) {
  const __m128i nibble = _mm_set1_epi8(15);
  for (std::size_t b = 0; b < blocks; ++b, in += 20, out += 32) {
    const __m256 d = _mm256_set1_ps(load_half(in));
    const __m256 m = _mm256_set1_ps(load_half(in + 2));
    const __m128i qs = load16(in + 4);
    affine16(_mm_and_si128(qs, nibble), d, m, out);
    affine16(_mm_and_si128(_mm_srli_epi16(qs, 4), nibble), d, m, out + 16);
  }
}

LANCET_AVX2 void q8_0(const std::uint8_t* in, std::size_t blocks, float* out) {
  for (std::size_t b = 0; b < blocks; ++b, in += 34, out += 32) {
    const __m256 d = _mm256_set1_ps(load_half(in));
    for (std::size_t j = 0; j < 32; j += 16) {
      const __m128i q = load16(in + 2 + j);
      const __m256 first = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q));
      const __m256 second = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(q, 8)));
      _mm256_storeu_ps(out + j, _mm256_mul_ps(d, first));
      _mm256_storeu_ps(out + j + 8, _mm256_mul_ps(d, second));
    }
  }
}

void plain_f16(const std::uint8_t* in, std::size_t begin, std::size_t end, float* out) {
  for (std::size_t i = begin; i < end; ++i) {
    out[i] = half::to_float(load_le<std::uint16_t>(in + 2 * i));
  }
}

// The instruction makes signalling NaNs quiet and the plain code does not: groups with a NaN go
// there.
LANCET_AVX2 void f16(const std::uint8_t* in, std::size_t count, float* out) {
  const __m128i infinity = _mm_set1_epi16(0x7C00);
  const __m128i magnitude = _mm_set1_epi16(0x7FFF);
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m128i bits = load16(in + 2 * i);
    const __m128i nan = _mm_cmpgt_epi16(_mm_and_si128(bits, magnitude), infinity);
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(bits));
    if (_mm_movemask_epi8(nan) != 0) [[unlikely]]
      plain_f16(in, i, i + 8, out);
  }
  plain_f16(in, i, count, out);
}

LANCET_AVX2 void bf16(const std::uint8_t* in, std::size_t count, float* out) {
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m256i wide = _mm256_slli_epi32(_mm256_cvtepu16_epi32(load16(in + 2 * i)), 16);
    _mm256_storeu_ps(out + i, _mm256_castsi256_ps(wide));
  }
  for (; i < count; ++i) out[i] = half::bf16_to_float(load_le<std::uint16_t>(in + 2 * i));
}

void plain_encode_f16(const float* in, std::size_t begin, std::size_t end, std::uint8_t* out) {
  for (std::size_t i = begin; i < end; ++i) store_le(out + 2 * i, half::from_float(in[i]));
}

LANCET_AVX2 void encode_f16(const float* in, std::size_t count, std::uint8_t* out) {
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m256 values = _mm256_loadu_ps(in + i);
    const __m128i packed = _mm256_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 2 * i), packed);
    const int nan = _mm256_movemask_ps(_mm256_cmp_ps(values, values, _CMP_UNORD_Q));
    if (nan != 0) [[unlikely]]
      plain_encode_f16(in, i, i + 8, out);
  }
  plain_encode_f16(in, i, count, out);
}

/// F16C from the processor itself: clang 14's __builtin_cpu_supports does not know the word.
bool detect() noexcept {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  const bool f16c = __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
  return f16c && __builtin_cpu_supports("avx2") != 0;
}

bool supported() noexcept {
  static const bool yes = detect();
  return yes;
}

}  // namespace

BlockDecoder decoder(DType dtype) noexcept {
  if (!supported()) return nullptr;
  switch (dtype) {
    case DType::kQ4_1:
      return q4_1;
    case DType::kQ8_0:
      return q8_0;
    case DType::kF16:
      return f16;
    case DType::kBF16:
      return bf16;
    default:
      return nullptr;
  }
}

HalfEncoder half_encoder() noexcept { return supported() ? encode_f16 : nullptr; }

}  // namespace lancet::simd

#else

namespace lancet::simd {

BlockDecoder decoder(DType /*dtype*/) noexcept { return nullptr; }
HalfEncoder half_encoder() noexcept { return nullptr; }

}  // namespace lancet::simd

#endif
