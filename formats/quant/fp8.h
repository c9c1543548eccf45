#pragma once
// Rows in 8-bit floating point, E4M3 without infinities (Micikevicius et al. 2022,
// arXiv:2209.05433): a sign, 4 bits of exponent (bias 7), 3 of mantissa; 448 is the largest, 0x7f
// is NaN. Decoded by decode_f32(DType::kF8E4M3) times the row's scale.

#include <cstdint>
#include <span>

namespace lancet {

inline constexpr float kFp8Max = 448;

/// Nearest code, ties to even; beyond 448 that one. NaN becomes 0x7f.
[[nodiscard]] std::uint8_t encode_fp8(float value) noexcept;

/// codes[i] stands for row[i] / scale; the scale, that of the row's largest, is max |row| / 448 (1
/// where that is 0). Same lengths.
[[nodiscard]] float encode_fp8(std::span<const float> row, std::span<std::uint8_t> codes);

}  // namespace lancet
