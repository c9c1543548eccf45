// ggml blocks of 32 elements. d and m are IEEE halves; element j takes the low nibble of qs[j],
// element j + 16 the high one.

#include "formats/quant/ggml_blocks.h"

#include <bit>

#include "core/bytes.h"
#include "formats/quant/half.h"

namespace lancet {
namespace {

constexpr std::size_t kBlock = 32;
constexpr std::size_t kHalf = kBlock / 2;

float load_half(const std::uint8_t* at) { return half::to_float(load_le<std::uint16_t>(at)); }
float as_float(int value) { return static_cast<float>(value); }

// d, qs[16]; x = d * (q - 8)
void q4_0(const std::uint8_t* in, float* out) {
  const float d = load_half(in);
  const std::uint8_t* qs = in + 2;
  for (std::size_t j = 0; j < kHalf; ++j) {
    out[j] = d * as_float((qs[j] & 15) - 8);
    out[j + kHalf] = d * as_float((qs[j] >> 4) - 8);
  }
}

// d, m, qs[16]; x = d * q + m
void q4_1(const std::uint8_t* in, float* out) {
  const float d = load_half(in);
  const float m = load_half(in + 2);
  const std::uint8_t* qs = in + 4;
  for (std::size_t j = 0; j < kHalf; ++j) {
    out[j] = d * as_float(qs[j] & 15) + m;
    out[j + kHalf] = d * as_float(qs[j] >> 4) + m;
  }
}

/// Five bits: the nibble, and bit `j` of qh as the fifth.
int five_bits(int nibble, std::uint32_t qh, std::size_t j) {
  return nibble | static_cast<int>(((qh >> j) & 1U) << 4);
}

// d, qh (32 bits), qs[16]; x = d * (q5 - 16)
void q5_0(const std::uint8_t* in, float* out) {
  const float d = load_half(in);
  const auto qh = load_le<std::uint32_t>(in + 2);
  const std::uint8_t* qs = in + 6;
  for (std::size_t j = 0; j < kHalf; ++j) {
    out[j] = d * as_float(five_bits(qs[j] & 15, qh, j) - 16);
    out[j + kHalf] = d * as_float(five_bits(qs[j] >> 4, qh, j + kHalf) - 16);
  }
}

// d, m, qh (32 bits), qs[16]; x = d * q5 + m
void q5_1(const std::uint8_t* in, float* out) {
  const float d = load_half(in);
  const float m = load_half(in + 2);
  const auto qh = load_le<std::uint32_t>(in + 4);
  const std::uint8_t* qs = in + 8;
  for (std::size_t j = 0; j < kHalf; ++j) {
    out[j] = d * as_float(five_bits(qs[j] & 15, qh, j)) + m;
    out[j + kHalf] = d * as_float(five_bits(qs[j] >> 4, qh, j + kHalf)) + m;
  }
}

// d, i8[32]; x = d * q
void q8_0(const std::uint8_t* in, float* out) {
  const float d = load_half(in);
  for (std::size_t j = 0; j < kBlock; ++j) {
    out[j] = d * as_float(static_cast<std::int8_t>(in[2 + j]));
  }
}

// d, qs[16]; x = d * T[q]
void iq4_nl(const std::uint8_t* in, float* out) {
  const float d = load_half(in);
  const std::uint8_t* qs = in + 2;
  for (std::size_t j = 0; j < kHalf; ++j) {
    out[j] = d * kIq4Values[qs[j] & 15];
    out[j + kHalf] = d * kIq4Values[qs[j] >> 4];
  }
}

// e (E8M0), qs[16] of E2M1. As the reference: half the scale, 2^(e-128), times doubled values; code
// 8 is +0; e = 255 is read as 2^127.
void mxfp4(const std::uint8_t* in, float* out) {
  constexpr float kDoubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
  const std::uint32_t e = in[0];
  const float d = std::bit_cast<float>(e < 2 ? 0x00200000U << e : (e - 1) << 23);
  const std::uint8_t* qs = in + 1;
  for (std::size_t j = 0; j < kHalf; ++j) {
    out[j] = d * kDoubled[qs[j] & 15];
    out[j + kHalf] = d * kDoubled[qs[j] >> 4];
  }
}

template <void (*kDecode)(const std::uint8_t*, float*), std::size_t kBytes>
void every(const std::uint8_t* in, std::size_t blocks, float* out) {
  for (std::size_t b = 0; b < blocks; ++b) kDecode(in + b * kBytes, out + b * kBlock);
}

}  // namespace

BlockDecoder small_block_decoder(DType dtype) noexcept {
  switch (dtype) {
    case DType::kQ4_0:
      return every<q4_0, 18>;
    case DType::kQ4_1:
      return every<q4_1, 20>;
    case DType::kQ5_0:
      return every<q5_0, 22>;
    case DType::kQ5_1:
      return every<q5_1, 24>;
    case DType::kQ8_0:
      return every<q8_0, 34>;
    case DType::kIQ4_NL:
      return every<iq4_nl, 18>;
    case DType::kMXFP4:
      return every<mxfp4, 17>;
    default:
      return nullptr;
  }
}

}  // namespace lancet
