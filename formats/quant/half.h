#pragma once
// IEEE binary16 and bfloat16 in plain integer arithmetic, inline for the block decoders: the same
// bits on every machine and in any flush-to-zero mode. NaNs are numpy's: payloads move unchanged
// (no quieting), so that each of the 65,536 halves survives the way to float32 and back.

#include <bit>
#include <cstdint>

namespace lancet::half {

[[nodiscard]] constexpr float to_float(std::uint16_t bits) noexcept {
  const std::uint32_t sign = (bits & 0x8000U) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1FU;
  const std::uint32_t mantissa = bits & 0x3FFU;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24, exact
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
  }
  if (exponent == 31) {
    return std::bit_cast<float>(sign | 0x7F800000U | (mantissa << 13));
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

/// Round to nearest, ties to even; from 65520 on infinity. A NaN without upper payload becomes
/// 0x7C01.
[[nodiscard]] constexpr std::uint16_t from_float(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000U;
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  std::uint32_t result = 0;
  if (magnitude > 0x7F800000U) {
    const std::uint32_t payload = (magnitude >> 13) & 0x3FFU;
    result = 0x7C00U | (payload != 0 ? payload : 1U);
  } else if (magnitude >= 0x477FF000U) {  // 65520, the midpoint above the largest half
    result = 0x7C00U;
  } else if (magnitude >=
             0x38800000U) {  // 2^-14: normal; a carry moves into the exponent as it should
    const std::uint32_t rebiased = magnitude - (112U << 23);
    result = (rebiased + 0xFFFU + ((rebiased >> 13) & 1U)) >> 13;
  } else if (magnitude > 0x33000000U) {  // above 2^-25: subnormal, in units of 2^-24
    const std::uint32_t shift = 126U - (magnitude >> 23);
    const std::uint32_t mantissa = (magnitude & 0x7FFFFFU) | 0x800000U;
    const std::uint32_t odd = (mantissa >> shift) & 1U;
    result = (mantissa + (1U << (shift - 1)) - 1U + odd) >> shift;
  }
  return static_cast<std::uint16_t>(sign | result);
}

[[nodiscard]] constexpr float bf16_to_float(std::uint16_t bits) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

/// Round to nearest, ties to even; a NaN keeps its upper payload and becomes quiet (as ggml's).
[[nodiscard]] constexpr std::uint16_t bf16_from_float(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return static_cast<std::uint16_t>((bits >> 16) | 0x40U);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

}  // namespace lancet::half
