#pragma once
// The row-wise parts of a decoder on the CPU, without LibTorch: float32 in, float32 out.
//
// Bits. Element i of a row goes through lane i mod 16; the lanes of every 1024 elements are added
// as a fixed tree (distance 8, 4, 2, 1) and these sums in double. So results are the same on every
// instruction set and do not depend on how the caller splits rows over threads; they depend on
// nothing but the row itself. exp_row is within 1.1 units in the last place of exp (1.06 over all
// floats), subnormal results too; exp(NaN) is NaN.
//
// Pointers need no alignment. `isa` must be one that has_isa() affirms.

#include <cstdint>

#include "model/kernels/isa.h"

namespace lancet::kernels {

/// y = exp(x); y may be x.
void exp_row(const float* x, float* y, std::int64_t n, Isa isa = best_isa());

/// y[rows, d] = x[rows, d] / sqrt(mean(x^2) + eps) * (weight[d] + weight_offset). Gemma's offset
/// is 1. y may be x.
struct RmsNorm {
  const float* x = nullptr;
  std::int64_t ldx = 0;
  const float* weight = nullptr;
  float weight_offset = 0;
  float eps = 0;
  float* y = nullptr;
  std::int64_t ldy = 0;
  std::int64_t rows = 0, d = 0;
};
void rms_norm(const RmsNorm& job, Isa isa = best_isa());

/// Of y = x * rstd * weight, rstd = 1 / sqrt(mean(x^2) + eps), row by row:
/// dx[rows, d] = rstd * (g - x_hat * mean(g * x_hat)) + plus with g = dy * weight, x_hat = x *
/// rstd. dx overlaps none of the others.
struct RmsNormBackward {
  const float* x = nullptr;
  const float* weight = nullptr;  ///< [d]
  float eps = 0;
  const float* dy = nullptr;
  const float* plus = nullptr;  ///< or null: nothing is added
  float* dx = nullptr;
  std::int64_t rows = 0, d = 0;
};
void rms_norm_backward(const RmsNormBackward& job, Isa isa = best_isa());

/// y = gate / (1 + exp(-gate)) * up, n elements; y may be gate or up.
void silu_mul(const float* gate, const float* up, float* y, std::int64_t n, Isa isa = best_isa());

/// Of y = silu(gate) * up, n elements, s = 1 / (1 + exp(-gate)): d_up = dy * (gate * s), d_gate =
/// (dy * up) * (s * (1 + gate * (1 - s))).
struct SiluMulBackward {
  const float* gate = nullptr;
  const float* up = nullptr;
  const float* dy = nullptr;
  float* d_gate = nullptr;
  float* d_up = nullptr;
  std::int64_t n = 0;
};
void silu_mul_backward(const SiluMulBackward& job, Isa isa = best_isa());

/// Rotates in place, in the half layout (x[i] with x[i + rotary / 2]), the first `rotary` elements
/// of each of `heads` vectors that lie `stride` apart: cos and sin hold rotary / 2 values of this
/// position. Products and sums are rounded one by one, as in the reference implementations.
void rope_half(float* x, std::int64_t stride, std::int64_t heads, const float* cos,
               const float* sin, std::int64_t rotary, Isa isa = best_isa());

/// y = softmax(x) over n >= 1 elements; y may be x. -inf entries become 0.
void softmax_row(const float* x, float* y, std::int64_t n, Isa isa = best_isa());

/// Of p = softmax(s): ds = p * (dp - sum(p * dp)), written over dp.
void softmax_backward(const float* p, float* dp, std::int64_t n, Isa isa = best_isa());

/// log(sum exp x) over n >= 1 elements.
[[nodiscard]] double log_sum_exp(const float* x, std::int64_t n, Isa isa = best_isa());

/// Attention of one token: out[queries, d_head] = softmax(scale * q[queries, d_head] k[tokens,
/// d_head]^T) v[tokens, d_head] for the query heads that share one key and value head; tokens >= 1.
/// Strides in elements. The sum over tokens is one FMA chain for each element of out.
struct DecodeAttention {
  const float* q = nullptr;
  std::int64_t q_stride = 0;
  const float* k = nullptr;
  std::int64_t k_stride = 0;
  const float* v = nullptr;
  std::int64_t v_stride = 0;
  float* out = nullptr;
  std::int64_t out_stride = 0;
  float* scores = nullptr;  ///< scratch [queries, tokens]; holds the attention weights afterwards
  std::int64_t queries = 0, tokens = 0, d_head = 0;
  float scale = 1;
};
void decode_attention(const DecodeAttention& job, Isa isa = best_isa());

}  // namespace lancet::kernels
