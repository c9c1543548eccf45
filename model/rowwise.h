#pragma once
// Row-wise loops beside model/kernels/elementwise.h: gradients, and picking from logits. One
// thread, float32.

#include <cstdint>

namespace lancet::rowwise {

/// dx = rstd * (g - x_hat * mean(g * x_hat)) with g = dy * weight, x_hat = x * rstd, rstd =
/// 1/sqrt(mean(x^2) + eps).
void rms_norm_backward(const float* x, const float* weight, float eps, const float* dy, float* dx,
                       std::int64_t d);

/// Of y = silu(gate) * up.
void silu_mul_backward(const float* gate, const float* up, const float* dy, float* d_gate,
                       float* d_up, std::int64_t count);

/// ds = p * (dp - sum(p * dp)), written over dp.
void softmax_backward(const float* p, float* dp, std::int64_t size);

/// How many are > limit.
[[nodiscard]] std::int64_t count_above(const float* x, float limit, std::int64_t count);
/// Index of the first maximum; NaN never wins. count >= 1.
[[nodiscard]] std::int64_t arg_max(const float* x, std::int64_t count);

}  // namespace lancet::rowwise
