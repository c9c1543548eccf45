#pragma once
// The fused kernels of liblancet_cuda as differentiable operators on tensors: RMS norm, rotary
// embeddings, SwiGLU and cross-entropy, each one pass over memory. They work on a CUDA device in
// float32 and bfloat16 (sums in float32 and float64, one rounding at the end); where the unit or a
// kernel is missing, callers keep to LibTorch's operators. No float atomics: the same bits each
// time. A launch that fails is kResource naming the kernel.

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "model/norm.h"
#include "model/rope.h"

namespace lancet::fused {

/// Whether these operators work on `x`: a tensor of a CUDA device whose unit has the kernels, in
/// float32 or bfloat16, or of the CPU while there is a TwinsOnCpu (launch.h).
[[nodiscard]] bool covers(const at::Tensor& x);

/// x itself and its RMS norm (norm.spec.kind kRms), [..., d]. The gradient of x is one pass, that
/// of the first result included. Weights get none.
struct Normed {
  at::Tensor stream, normed;
};
[[nodiscard]] Normed rms_norm(const Norm& norm, const at::Tensor& x);

/// x [batch, tokens, heads * d_head] turned by the table's rows `positions`, int64 [batch, tokens].
[[nodiscard]] at::Tensor rotate(const at::Tensor& x, std::int64_t d_head, const RopeSpec& rope,
                                const RopeTable& table, const at::Tensor& positions);

/// silu(gate) * up of one shape, [..., d]; rows may have gaps between them.
[[nodiscard]] at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

/// How logits become what a loss sees (DecoderSpec).
struct LogitForm {
  double scale = 1, softcap = 0;
  std::vector<std::pair<std::int64_t, std::int64_t>> masked;  ///< ids [first, last)
};
/// logits [rows, vocab], contiguous -> -log softmax(z)[target] of every row, float64 [rows] on the
/// device; 0 where the target is negative. With `gradient`, weights[row] times the derivative with
/// respect to the logits takes their place (`weights` empty: 1). No graph.
[[nodiscard]] at::Tensor cross_entropy(const at::Tensor& logits,
                                       std::span<const std::int32_t> targets,
                                       std::span<const float> weights, const LogitForm& form,
                                       bool gradient);

}  // namespace lancet::fused
