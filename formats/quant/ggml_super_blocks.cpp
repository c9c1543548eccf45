// ggml super-blocks of 256 elements: K-quants and IQ4_XS. d and dmin are IEEE halves (Q8_K:
// float32).

#include <array>

#include "core/bytes.h"
#include "formats/quant/ggml_blocks.h"
#include "formats/quant/half.h"

namespace lancet {
namespace {

constexpr std::size_t kBlock = 256;

float load_half(const std::uint8_t* at) { return half::to_float(load_le<std::uint16_t>(at)); }
float as_float(int value) { return static_cast<float>(value); }

// scales[16] (low nibble: scale, high: minimum), qs[64], d, dmin. Group g of 16 elements, in the
// half h = g/8, has its two bits at 2 * (g/2 % 4) of qs[32h + 16(g%2) + l]. x = (d * scale) * q -
// dmin * minimum
void q2_k(const std::uint8_t* in, float* out) {
  const float d = load_half(in + 80);
  const float dmin = load_half(in + 82);
  for (std::size_t g = 0; g < 16; ++g) {
    const float scale = d * as_float(in[g] & 15);
    const float minimum = dmin * as_float(in[g] >> 4);
    const std::uint8_t* qs = in + 16 + 32 * (g / 8) + 16 * (g % 2);
    const int shift = static_cast<int>(2 * (g / 2 % 4));
    for (std::size_t l = 0; l < 16; ++l) {
      out[16 * g + l] = scale * as_float((qs[l] >> shift) & 3) - minimum;
    }
  }
}

// hmask[32], qs[64], scales[12] (16 of 6 bits, offset 32), d. Groups as in Q2_K; where bit 4h + j
// of hmask[16t + l] is clear, 4 is taken from q. x = (d * (scale - 32)) * q
void q3_k(const std::uint8_t* in, float* out) {
  const std::uint8_t* scales = in + 96;
  const float d = load_half(in + 108);
  for (std::size_t g = 0; g < 16; ++g) {
    const int low = g < 8 ? scales[g] & 15 : scales[g - 8] >> 4;
    const int high = (scales[8 + g % 4] >> (2 * (g / 4))) & 3;
    const float scale = d * as_float((low | high << 4) - 32);
    const std::uint8_t* qs = in + 32 + 32 * (g / 8) + 16 * (g % 2);
    const std::uint8_t* hmask = in + 16 * (g % 2);
    const int shift = static_cast<int>(2 * (g / 2 % 4));
    const int bit = static_cast<int>(g / 2);
    for (std::size_t l = 0; l < 16; ++l) {
      const int minus = ((hmask[l] >> bit) & 1) != 0 ? 0 : 4;
      out[16 * g + l] = scale * as_float(((qs[l] >> shift) & 3) - minus);
    }
  }
}

struct ScaleMin {
  float scale;
  float minimum;
};

/// The eight 6-bit scales and minima that Q4_K and Q5_K pack into 12 bytes, times d and dmin.
std::array<ScaleMin, 8> scales_and_minima(const std::uint8_t* packed, float d, float dmin) {
  std::array<ScaleMin, 8> result{};
  for (std::size_t j = 0; j < 4; ++j) {
    const int scale_low = packed[j] & 63;
    const int minimum_low = packed[j + 4] & 63;
    const int scale_high = (packed[j + 8] & 15) | ((packed[j] >> 6) << 4);
    const int minimum_high = (packed[j + 8] >> 4) | ((packed[j + 4] >> 6) << 4);
    result[j] = {d * as_float(scale_low), dmin * as_float(minimum_low)};
    result[j + 4] = {d * as_float(scale_high), dmin * as_float(minimum_high)};
  }
  return result;
}

// d, dmin, scales[12], qs[128]: sub-blocks 2c and 2c + 1 are the low and high nibbles of qs[32c ..
// 32c+31]. x = (d * scale) * q - dmin * minimum
void q4_k(const std::uint8_t* in, float* out) {
  const auto subs = scales_and_minima(in + 4, load_half(in), load_half(in + 2));
  for (std::size_t c = 0; c < 4; ++c) {
    const std::uint8_t* qs = in + 16 + 32 * c;
    const ScaleMin first = subs[2 * c];
    const ScaleMin second = subs[2 * c + 1];
    for (std::size_t l = 0; l < 32; ++l) {
      out[64 * c + l] = first.scale * as_float(qs[l] & 15) - first.minimum;
      out[64 * c + 32 + l] = second.scale * as_float(qs[l] >> 4) - second.minimum;
    }
  }
}

// d, dmin, scales[12], qh[32], qs[128]: as Q4_K, with bit i of qh[l] as the fifth bit of sub-block
// i.
void q5_k(const std::uint8_t* in, float* out) {
  const auto subs = scales_and_minima(in + 4, load_half(in), load_half(in + 2));
  const std::uint8_t* qh = in + 16;
  for (std::size_t i = 0; i < 8; ++i) {
    const std::uint8_t* qs = in + 48 + 32 * (i / 2);
    const int shift = i % 2 == 0 ? 0 : 4;
    for (std::size_t l = 0; l < 32; ++l) {
      const int q = ((qs[l] >> shift) & 15) | ((qh[l] >> i) & 1) << 4;
      out[32 * i + l] = subs[i].scale * as_float(q) - subs[i].minimum;
    }
  }
}

// ql[128], qh[64], i8 scales[16], d. Run r of 32 elements in the half h: low four bits from the
// nibble r/2 of ql[64h + 32(r%2) + l], upper two from bits 2r of qh[32h + l]. x = (d * scale) * (q
// - 32)
void q6_k(const std::uint8_t* in, float* out) {
  const float d = load_half(in + 208);
  for (std::size_t h = 0; h < 2; ++h) {
    const std::uint8_t* qh = in + 128 + 32 * h;
    for (std::size_t r = 0; r < 4; ++r) {
      const std::uint8_t* ql = in + 64 * h + 32 * (r % 2);
      const std::uint8_t* scales = in + 192 + 8 * h + 2 * r;
      const int shift = r < 2 ? 0 : 4;
      const float scale[2] = {d * as_float(static_cast<std::int8_t>(scales[0])),
                              d * as_float(static_cast<std::int8_t>(scales[1]))};
      for (std::size_t l = 0; l < 32; ++l) {
        const int q = ((ql[l] >> shift) & 15) | ((qh[l] >> (2 * r)) & 3) << 4;
        out[128 * h + 32 * r + l] = scale[l / 16] * as_float(q - 32);
      }
    }
  }
}

// float32 d, i8 qs[256], i16 sums[16] (not needed here). x = d * q
void q8_k(const std::uint8_t* in, float* out) {
  const auto d = load_le<float>(in);
  for (std::size_t j = 0; j < kBlock; ++j) {
    out[j] = d * as_float(static_cast<std::int8_t>(in[4 + j]));
  }
}

// d, scales_h (16 bits), scales_l[4], qs[128]. Sub-block i of 32: scale = four bits of scales_l and
// two of scales_h, minus 32. x = (d * scale) * T[q]
void iq4_xs(const std::uint8_t* in, float* out) {
  const float d = load_half(in);
  const auto scales_h = load_le<std::uint16_t>(in + 2);
  for (std::size_t i = 0; i < 8; ++i) {
    const int low = (in[4 + i / 2] >> (4 * (i % 2))) & 15;
    const int high = (scales_h >> (2 * i)) & 3;
    const float scale = d * as_float((low | high << 4) - 32);
    const std::uint8_t* qs = in + 8 + 16 * i;
    for (std::size_t l = 0; l < 16; ++l) {
      out[32 * i + l] = scale * kIq4Values[qs[l] & 15];
      out[32 * i + 16 + l] = scale * kIq4Values[qs[l] >> 4];
    }
  }
}

template <void (*kDecode)(const std::uint8_t*, float*), std::size_t kBytes>
void every(const std::uint8_t* in, std::size_t blocks, float* out) {
  for (std::size_t b = 0; b < blocks; ++b) kDecode(in + b * kBytes, out + b * kBlock);
}

}  // namespace

BlockDecoder super_block_decoder(DType dtype) noexcept {
  switch (dtype) {
    case DType::kQ2_K:
      return every<q2_k, 84>;
    case DType::kQ3_K:
      return every<q3_k, 110>;
    case DType::kQ4_K:
      return every<q4_k, 144>;
    case DType::kQ5_K:
      return every<q5_k, 176>;
    case DType::kQ6_K:
      return every<q6_k, 210>;
    case DType::kQ8_K:
      return every<q8_k, 292>;
    case DType::kIQ4_XS:
      return every<iq4_xs, 136>;
    default:
      return nullptr;
  }
}

}  // namespace lancet
