#pragma once
// Vector versions of the hot conversions, chosen at run time. Each gives the same bits as its plain
// twin.

#include <cstddef>
#include <cstdint>

#include "formats/dtype.h"
#include "formats/quant/ggml_blocks.h"

namespace lancet::simd {

/// Q4_1, Q8_0 (blocks) and F16, BF16 (a block is one element), or null where this processor has no
/// AVX2 with F16C, or for any other type.
[[nodiscard]] BlockDecoder decoder(DType dtype) noexcept;

/// float32 -> IEEE half, round to nearest even; null where the processor has no F16C.
using HalfEncoder = void (*)(const float* in, std::size_t count, std::uint8_t* out);
[[nodiscard]] HalfEncoder half_encoder() noexcept;

}  // namespace lancet::simd
