// encode_f32: float32 -> the types that lancet writes.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "core/error.h"
#include "formats/quant/decode.h"
#include "formats/quant/half.h"
#include "formats/quant/simd.h"

namespace lancet {
namespace {

constexpr std::size_t kQ8Block = 32;

/// The largest |x| of a block, a NaN if one is in it: magnitudes are ordered as their bits are,
/// NaNs last.
float largest_magnitude(const float* in) {
  std::uint32_t largest = 0;
  for (std::size_t j = 0; j < kQ8Block; ++j) {
    largest = std::max(largest, std::bit_cast<std::uint32_t>(in[j]) & 0x7FFFFFFFU);
  }
  return std::bit_cast<float>(largest);
}

/// Nearest integer, halves away from zero; 0 for what is not finite. |value| < 2^31 where it is
/// finite.
int round_away(float value) {
  const float magnitude = std::fabs(value);
  const float finite = magnitude < 0x1p31F ? magnitude : 0.0F;
  const int whole = static_cast<int>(finite);
  const int rounded = whole + static_cast<int>(finite - static_cast<float>(whole) >= 0.5F);
  return value < 0.0F ? -rounded : rounded;
}

/// d = max|x| / 127 stored as half; q = x * (1/d), rounded half away from zero, with d before its
/// rounding to half. Where x * (1/d) is not finite (d subnormal, x infinite) q = 0, as numpy's cast
/// has it.
void encode_q8_0(std::span<const float> in, std::byte* out) {
  for (std::size_t begin = 0; begin < in.size(); begin += kQ8Block, out += 2 + kQ8Block) {
    const float* x = in.data() + begin;
    const float d = largest_magnitude(x) / 127.0F;
    const float inverse = d == 0.0F ? 0.0F : 1.0F / d;
    store_le(out, half::from_float(d));
    for (std::size_t j = 0; j < kQ8Block; ++j) {
      out[2 + j] = static_cast<std::byte>(static_cast<std::int8_t>(round_away(x[j] * inverse)));
    }
  }
}

void encode_f16(std::span<const float> in, std::byte* out) {
  if (const auto encoder = simd::half_encoder()) {
    return encoder(in.data(), in.size(), reinterpret_cast<std::uint8_t*>(out));
  }
  for (std::size_t i = 0; i < in.size(); ++i) store_le(out + 2 * i, half::from_float(in[i]));
}

void encode_bf16(std::span<const float> in, std::byte* out) {
  for (std::size_t i = 0; i < in.size(); ++i) store_le(out + 2 * i, half::bf16_from_float(in[i]));
}

void encode_f64(std::span<const float> in, std::byte* out) {
  for (std::size_t i = 0; i < in.size(); ++i) store_le(out + 8 * i, static_cast<double>(in[i]));
}

}  // namespace

void encode_f32(DType dtype, std::span<const float> in, std::span<std::byte> out) {
  const auto expected = dtype_bytes(dtype, in.size());
  if (!expected || *expected != out.size()) {
    fail(ErrorKind::kInternal, "encode",
         fmt::format("expected room for {} values of {}, found {} bytes", in.size(),
                     dtype_info(dtype).name, out.size()));
  }
  if (in.empty()) return;
  switch (dtype) {
    case DType::kF64:
      return encode_f64(in, out.data());
    case DType::kF32:
      std::memcpy(out.data(), in.data(), in.size_bytes());
      return;
    case DType::kF16:
      return encode_f16(in, out.data());
    case DType::kBF16:
      return encode_bf16(in, out.data());
    case DType::kQ8_0:
      return encode_q8_0(in, out.data());
    default:
      fail(ErrorKind::kMismatch, "encode",
           fmt::format("expected F64, F32, F16, BF16 or Q8_0, found {}", dtype_info(dtype).name));
  }
}

}  // namespace lancet
