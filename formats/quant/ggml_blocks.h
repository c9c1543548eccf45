#pragma once
// ggml's quantised blocks -> float32, plain portable code. Layouts: ggml-common.h; the order of the
// float operations is that of gguf.quants.dequantize, which makes the results equal bit for bit.

#include <cstddef>
#include <cstdint>

#include "formats/dtype.h"

namespace lancet {

/// Decodes `blocks` consecutive blocks. `in` and `out` may lie at any alignment.
using BlockDecoder = void (*)(const std::uint8_t* in, std::size_t blocks, float* out);

/// Blocks of 32: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL MXFP4. Null for any other type.
[[nodiscard]] BlockDecoder small_block_decoder(DType dtype) noexcept;
/// Super-blocks of 256: Q2_K Q3_K Q4_K Q5_K Q6_K Q8_K IQ4_XS. Null for any other type.
[[nodiscard]] BlockDecoder super_block_decoder(DType dtype) noexcept;

/// Values of the 4-bit non-linear types IQ4_NL and IQ4_XS.
inline constexpr float kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                         1,    13,   25,  38,  53,  69,  89,  113};

}  // namespace lancet
