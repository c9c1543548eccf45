#include "core/philox.h"

#include "core/dispatch.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace lancet {
namespace {

constexpr std::uint32_t kFactor0 = 0xD2511F53, kFactor1 = 0xCD9E8D57;
constexpr std::uint32_t kStep0 = 0x9E3779B9, kStep1 = 0xBB67AE85;
constexpr int kRounds = 10;

constexpr std::uint32_t low(std::uint64_t v) { return static_cast<std::uint32_t>(v); }
constexpr std::uint32_t high(std::uint64_t v) { return static_cast<std::uint32_t>(v >> 32); }

#if defined(__x86_64__)

// A counter word of 8 (4) blocks in the low halves of 64-bit lanes. The high halves hold rubbish:
// the multiplication does not read them.

[[gnu::target("avx512f")]] inline __m512i all_of(std::uint64_t v) {
  return _mm512_set1_epi64(static_cast<long long>(v));
}
[[gnu::target("avx2")]] inline __m256i all_of4(std::uint64_t v) {
  return _mm256_set1_epi64x(static_cast<long long>(v));
}

[[gnu::target("avx512f")]] void groups_avx512(std::uint32_t* words, std::uint64_t first,
                                              std::size_t groups,
                                              std::array<std::uint32_t, 2> upper,
                                              std::array<std::uint32_t, 2> key) noexcept {
  constexpr int kSide = 2, kXor = 0x96;  // vectors side by side; a ^ b ^ c
  const __m512i lanes = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i front = _mm512_set_epi64(11, 3, 10, 2, 9, 1, 8, 0);
  const __m512i back = _mm512_set_epi64(15, 7, 14, 6, 13, 5, 12, 4);
  const __m512i factor0 = all_of(kFactor0), factor1 = all_of(kFactor1), halves = all_of(0xFFFFFFFF);
  for (std::size_t g = 0; g < groups; ++g, first += std::uint64_t{8} * kSide) {
    __m512i c0[kSide], c1[kSide], c2[kSide], c3[kSide];
    for (int s = 0; s < kSide; ++s) {
      c0[s] = _mm512_add_epi64(all_of(first + 8 * static_cast<std::uint64_t>(s)), lanes);
      c1[s] = _mm512_srli_epi64(c0[s], 32);
      c2[s] = all_of(upper[0]);
      c3[s] = all_of(upper[1]);
    }
    std::uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < kRounds; ++round, k0 += kStep0, k1 += kStep1) {
      for (int s = 0; s < kSide; ++s) {
        const __m512i a = _mm512_mul_epu32(c0[s], factor0), b = _mm512_mul_epu32(c2[s], factor1);
        c0[s] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(b, 32), c1[s], all_of(k0), kXor);
        c2[s] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(a, 32), c3[s], all_of(k1), kXor);
        c1[s] = b;
        c3[s] = a;
      }
    }
    for (int s = 0; s < kSide; ++s, words += 32) {
      const __m512i lower =
          _mm512_or_si512(_mm512_and_si512(c0[s], halves), _mm512_slli_epi64(c1[s], 32));
      const __m512i higher =
          _mm512_or_si512(_mm512_and_si512(c2[s], halves), _mm512_slli_epi64(c3[s], 32));
      _mm512_storeu_si512(words, _mm512_permutex2var_epi64(lower, front, higher));
      _mm512_storeu_si512(words + 16, _mm512_permutex2var_epi64(lower, back, higher));
    }
  }
}

[[gnu::target("avx2")]] void groups_avx2(std::uint32_t* words, std::uint64_t first,
                                         std::size_t groups, std::array<std::uint32_t, 2> upper,
                                         std::array<std::uint32_t, 2> key) noexcept {
  constexpr int kSide = 2;  // 8 of 16 registers: more would be spilled
  const __m256i lanes = _mm256_set_epi64x(3, 2, 1, 0);
  const __m256i factor0 = all_of4(kFactor0), factor1 = all_of4(kFactor1),
                halves = all_of4(0xFFFFFFFF);
  for (std::size_t g = 0; g < groups; ++g, first += std::uint64_t{4} * kSide) {
    __m256i c0[kSide], c1[kSide], c2[kSide], c3[kSide];
    for (int s = 0; s < kSide; ++s) {
      c0[s] = _mm256_add_epi64(all_of4(first + 4 * static_cast<std::uint64_t>(s)), lanes);
      c1[s] = _mm256_srli_epi64(c0[s], 32);
      c2[s] = all_of4(upper[0]);
      c3[s] = all_of4(upper[1]);
    }
    std::uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < kRounds; ++round, k0 += kStep0, k1 += kStep1) {
      for (int s = 0; s < kSide; ++s) {
        const __m256i a = _mm256_mul_epu32(c0[s], factor0), b = _mm256_mul_epu32(c2[s], factor1);
        c0[s] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(b, 32), c1[s]), all_of4(k0));
        c2[s] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(a, 32), c3[s]), all_of4(k1));
        c1[s] = b;
        c3[s] = a;
      }
    }
    for (int s = 0; s < kSide; ++s, words += 16) {
      const __m256i lower =
          _mm256_or_si256(_mm256_and_si256(c0[s], halves), _mm256_slli_epi64(c1[s], 32));
      const __m256i higher =
          _mm256_or_si256(_mm256_and_si256(c2[s], halves), _mm256_slli_epi64(c3[s], 32));
      const __m256i even = _mm256_unpacklo_epi64(lower, higher);  // blocks 0 and 2
      const __m256i odd = _mm256_unpackhi_epi64(lower, higher);   // blocks 1 and 3
      auto* at = reinterpret_cast<__m256i*>(words);
      _mm256_storeu_si256(at, _mm256_permute2x128_si256(even, odd, 0x20));
      _mm256_storeu_si256(at + 1, _mm256_permute2x128_si256(even, odd, 0x31));
    }
  }
}

#endif

}  // namespace

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key) noexcept {
  for (int round = 0; round < kRounds; ++round) {
    const std::uint64_t a = std::uint64_t{kFactor0} * counter[0];
    const std::uint64_t b = std::uint64_t{kFactor1} * counter[2];
    counter = {high(b) ^ counter[1] ^ key[0], low(b), high(a) ^ counter[3] ^ key[1], low(a)};
    key[0] += kStep0;
    key[1] += kStep1;
  }
  return counter;
}

void philox_run(std::uint32_t* words, std::uint64_t first, std::size_t blocks,
                std::array<std::uint32_t, 2> upper, std::array<std::uint32_t, 2> key) noexcept {
  std::size_t done = 0;
#if defined(__x86_64__)
  constexpr std::size_t kGroup = 16;  // blocks
  if (isa() != Isa::kPlain) {
    const std::size_t groups = blocks / kGroup;
    if (isa() == Isa::kAvx512) {
      groups_avx512(words, first, groups, upper, key);
    } else {
      groups_avx2(words, first, 2 * groups, upper, key);  // of half the size
    }
    done = groups * kGroup;
  }
#endif
  for (std::size_t i = done; i < blocks; ++i) {
    const auto block = philox4x32({low(first + i), high(first + i), upper[0], upper[1]}, key);
    for (std::size_t w = 0; w < 4; ++w) words[4 * i + w] = block[w];
  }
}

}  // namespace lancet
