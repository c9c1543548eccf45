#pragma once
// Row-wise loops beside model/kernels/elementwise.h: picking from logits. One thread, float32.

#include <cstdint>

namespace lancet::rowwise {

/// How many are > limit.
[[nodiscard]] std::int64_t count_above(const float* x, float limit, std::int64_t count);
/// Index of the first maximum; NaN never wins. count >= 1.
[[nodiscard]] std::int64_t arg_max(const float* x, std::int64_t count);

}  // namespace lancet::rowwise
