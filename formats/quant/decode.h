#pragma once
// Stored values -> float32, and float32 -> the types we write. Bit-exact with the reference `gguf`
// library.

#include <cstdint>
#include <span>

#include "core/bytes.h"
#include "formats/dtype.h"

namespace lancet {

/// IEEE half and bfloat16 conversions, round to nearest even.
[[nodiscard]] float f16_to_f32(std::uint16_t bits) noexcept;
[[nodiscard]] std::uint16_t f32_to_f16(float value) noexcept;
[[nodiscard]] float bf16_to_f32(std::uint16_t bits) noexcept;
[[nodiscard]] std::uint16_t f32_to_bf16(float value) noexcept;

/// Decodes whole blocks: in.size() == dtype_bytes(dtype, out.size()). Any DType whose info says
/// `floating`, and the integer types (value as a number). Throws Error(kMismatch) for types that
/// are not numbers.
void decode_f32(DType dtype, Bytes in, std::span<float> out);

/// Encodes to F64, F32, F16, BF16 or Q8_0 (the reference's rounding); out.size() ==
/// dtype_bytes(...).
void encode_f32(DType dtype, std::span<const float> in, std::span<std::byte> out);

}  // namespace lancet
