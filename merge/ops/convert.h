#pragma once
// Stored values to float64 and back. One rounding on the way out, to nearest even; both directions
// say whether every value was finite.

#include <cstdint>
#include <span>

#include "core/bytes.h"
#include "formats/dtype.h"

namespace lancet::ops {

/// in.size() == dtype_bytes(dtype, out.size()), any alignment, any DType that decode_f32 takes.
/// False when a value is NaN or infinite.
[[nodiscard]] bool load_values(DType dtype, Bytes in, std::span<double> out);

/// The same less `base`: out = in - base.
[[nodiscard]] bool load_differences(DType dtype, Bytes in, std::span<const double> base,
                                    std::span<double> out);

/// magnitude_keys (keys.h) of load_values or, where `base` is not empty, of load_differences,
/// without the values: both are bfloat16, whose difference float32 rounds as it would the float64
/// one.
void bfloat16_keys(std::span<std::uint32_t> keys, Bytes in, Bytes base);

/// float32 to float64; false when a value is not finite.
[[nodiscard]] bool widen(std::span<const float> in, std::span<double> out);

/// F64, F32, BF16 or F16. False when a stored value is not finite (also by leaving the dtype's
/// range). Below 2^-126, where float32 itself is subnormal, the 16-bit types are rounded twice.
[[nodiscard]] bool store_values(DType dtype, std::span<const double> in, std::span<std::byte> out);

}  // namespace lancet::ops
