#pragma once
// Linear layers with frozen weights: differentiable with respect to the input, and to their
// low-rank parts where they have them.

#include <memory>
#include <span>
#include <vector>

#include <ATen/ATen.h>

#include "model/derived.h"
#include "model/row_form.h"
#include "model/spec.h"

namespace lancet {

class PackedMatrix;
struct LowRank;

struct Linear {
  at::Tensor weight;  ///< [out, in] or, kInOut, [in, out]; contiguous. Of a packed one the shape
                      ///< alone (on the meta device)
  at::Tensor bias;    ///< [out] or undefined
  MatrixLayout layout = MatrixLayout::kOutIn;
  std::shared_ptr<const LowRank> low_rank;          ///< model/lora.h; null = none
  std::shared_ptr<const PackedMatrix> packed = {};  ///< the weight in few bits; CPU only
  /// kRounded with a weight of bfloat16 on the CPU alone.
  RowForm rows = RowForm::kPlain;

  [[nodiscard]] std::int64_t d_in() const {
    return weight.size(layout == MatrixLayout::kOutIn ? 1 : 0);
  }
  [[nodiscard]] std::int64_t d_out() const {
    return weight.size(layout == MatrixLayout::kOutIn ? 0 : 1);
  }
};

/// Whether our own float32 kernels run on this activation: CPU and float32. (Weights there are
/// float32 or bf16.)
[[nodiscard]] bool is_native(const at::Tensor& activation);

/// x [..., d_in] -> [..., d_out], each of the layers; they share one parallel region and, in the
/// backward pass, one sum of gradients.
[[nodiscard]] std::vector<at::Tensor> apply_linears(std::span<const Linear> layers,
                                                    const Derived& x);
[[nodiscard]] at::Tensor apply_linear(const Linear& layer, const Derived& x);

/// One layer without its low-rank part, by LibTorch's operators.
[[nodiscard]] at::Tensor apply_composed(const Linear& layer, const at::Tensor& x);

/// The kernels by themselves, without low-rank parts: y[rows, d_out] of x[rows, d_in], both float32
/// and contiguous.
void run_linears(std::span<const Linear> layers, const float* x, std::int64_t rows,
                 std::span<float* const> y);
/// dx[rows, d_in] = sum over the layers of dy W; a null dy has no part in it.
void run_linears_backward(std::span<const Linear> layers, std::span<const float* const> dy,
                          std::int64_t rows, float* dx);

}  // namespace lancet
