#pragma once
// Selective state spaces (Gu and Dao 2023, arXiv:2312.00752; Dao and Gu 2024, arXiv:2405.21060), in
// float32 whatever the dtype of the weights. Differentiable with respect to the input; the state
// that a cache holds is constant.

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "model/kv_cache.h"
#include "model/linear.h"
#include "model/norm.h"
#include "model/spec.h"

namespace lancet {

struct SsmPart {
  Linear in, out;
  Linear x, dt;                  ///< of Mamba 1
  at::Tensor conv_weight;        ///< [d_conv, channels]
  at::Tensor conv_bias;          ///< [channels] or undefined
  at::Tensor a;                  ///< -exp(A_log): [heads, d_state], Mamba 2: [heads, 1]
  at::Tensor d, dt_bias;         ///< [heads]; dt_bias of Mamba 2
  Norm dt_norm, b_norm, c_norm;  ///< without a weight: not there
  Norm norm;                     ///< behind Mamba 2's gate
};

/// What one layer's state space needs beside its input.
struct SsmPass {
  const SsmSpec* spec = nullptr;
  std::vector<std::int64_t> lengths;   ///< real tokens of each row; empty = all
  std::vector<std::int64_t> segments;  ///< as in Pass: no state goes from one to the next
  const SsmState* before = nullptr;    ///< of each text; null = zeros
  SsmState* after = nullptr;  ///< where the state behind each row's tokens goes; null = nowhere
};

/// From a block's normed input to the input of its output projection: [batch, tokens, width].
[[nodiscard]] at::Tensor run_ssm(const SsmPart& part, const at::Tensor& x, const SsmPass& pass);

/// y[t, c] = bias[c] + sum over j of weight[j, c] * x[t - d_conv + 1 + j, c]; what lies before x is
/// `before` [batch, d_conv - 1, channels]. x [batch, tokens, channels] -> the same.
[[nodiscard]] at::Tensor causal_conv(const at::Tensor& x, const at::Tensor& weight,
                                     const at::Tensor& bias, const at::Tensor& before);

/// The recurrence of SsmSpec by itself, without D. x [batch, tokens, heads, d_head], dt [batch,
/// tokens, heads], a [heads, d_state or 1], b and c [batch, tokens, groups, d_state]. `state`
/// [batch, heads, d_head, d_state] is the one before and becomes the one behind the last token.
[[nodiscard]] at::Tensor selective_scan(const at::Tensor& x, const at::Tensor& dt,
                                        const at::Tensor& a, const at::Tensor& b,
                                        const at::Tensor& c, at::Tensor& state);

/// The same by LibTorch's operators; differentiable.
[[nodiscard]] at::Tensor scan_composed(const at::Tensor& x, const at::Tensor& dt,
                                       const at::Tensor& a, const at::Tensor& b,
                                       const at::Tensor& c, at::Tensor& state);

}  // namespace lancet
