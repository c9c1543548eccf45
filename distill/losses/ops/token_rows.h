#pragma once
// Losses whose row is a number times the cross-entropy of one token. On a GPU these stay where the
// logits are (model/cuda); the other losses of this folder take their rows to the CPU.

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "distill/losses/ops/head_rows.h"
#include "model/cuda/fused.h"

namespace lancet::losses {

/// Rows with value factors[i] * -log q(next[i]) (`factors` empty: 1). Where `ce` is not null,
/// -log q(next[i]) is left in ce[i] [n].
[[nodiscard]] HeadRows token_rows(std::vector<std::int32_t> next, std::vector<float> factors,
                                  double* ce);

/// Whether fused kernels do the rows of these logits, or of states of that device and dtype.
[[nodiscard]] bool stays_on_device(const HeadRows& rows, const at::Tensor& x);

/// The rows of some chunks, on the device; values come to the CPU once, at the end.
class DeviceTokens {
 public:
  explicit DeviceTokens(const TokenRows& tokens) : tokens_(tokens) {}

  /// logits [count, vocab] of rows from `first` on, without a graph. With `gradient`, the slopes
  /// take their place, of row i times slopes[i] where `slopes` [n] is not null.
  void add(const at::Tensor& logits, std::int64_t first, const fused::LogitForm& form,
           bool gradient, const double* slopes = nullptr);
  /// Waits for the device and writes the values of all rows that were added, from row 0 on.
  void finish(double* values) const;

 private:
  const TokenRows& tokens_;
  std::vector<at::Tensor> losses_;
};

/// Head and loss of normed [count, d_model], rows from `first` on; `gradient` [count, d_model], or
/// undefined, gets the derivative with respect to normed. The head has no low-rank part.
void run_on_device(const Decoder& model, DeviceTokens& tokens, const at::Tensor& normed,
                   std::int64_t first, const at::Tensor& gradient);

}  // namespace lancet::losses
