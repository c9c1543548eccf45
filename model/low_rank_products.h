#pragma once
// The products of linear layers with low-rank parts, and of their gradients, without a graph. For
// linear_adapted.cpp and embedding_adapted.cpp. Everything is float32 on the CPU and contiguous.

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/Tensor.h>

#include "model/linear.h"

namespace lancet {

/// The transpose of x [rows, columns], times `scale`.
[[nodiscard]] at::Tensor turned(const at::Tensor& x, double scale = 1);
/// x times `scale`.
[[nodiscard]] at::Tensor scaled(const at::Tensor& x, double scale);

/// y of each layer for x [rows, d_in], and h = drop(x) A^T of each adapted one (undefined for the
/// others, and where nobody needs it: the weight is merged and `keep` is false).
struct LowRankForward {
  std::vector<at::Tensor> y, h;
};
[[nodiscard]] LowRankForward low_rank_forward(std::span<const Linear> layers, const at::Tensor& x,
                                              bool keep);

/// Of the factors of one layer; undefined where it is not adapted or its output was not used.
struct FactorGradients {
  at::Tensor da, db;
};
/// From h as low_rank_forward gave it and dy [rows, d_out] of each layer (undefined: not used).
/// With dx defined, writes the gradient of x into it.
[[nodiscard]] std::vector<FactorGradients> low_rank_backward(std::span<const Linear> layers,
                                                             const at::Tensor& x,
                                                             std::span<const at::Tensor> h,
                                                             std::span<const at::Tensor> dy,
                                                             const at::Tensor& dx);

}  // namespace lancet
