#pragma once
// Head and loss in one differentiable function, for a few rows at a time. The logits of those rows
// are turned into the gradient where they lie, and one more product takes that to the hidden
// states: two products with the head's matrix (it is frozen, so it has no gradient), and at most
// kLogitBytes of logits, whatever the batch. Cutting the vocabulary, too, would cost a third
// product, since a slice's gradient needs the sum over all of them.
//
// On a GPU the rows of token_rows() stay there; every other loss works on its rows on the CPU, to
// which their logits are copied, and the gradient back.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include <ATen/ATen.h>

#include "model/decoder.h"

namespace lancet::losses {

/// Of one matrix of logits.
inline constexpr std::int64_t kLogitBytes = 64LL << 20;
/// On a GPU, whose products need more rows for their worth, this many times the rows.
inline constexpr std::int64_t kDeviceRows = 8;

/// How many rows have logits at once: as many as kLogitBytes hold, at least 16, at most 512.
[[nodiscard]] std::int64_t rows_at_once(std::int64_t vocab);

/// Rows whose value is factor(i) * -log q(next[i]); made by token_rows().
struct TokenRows {
  std::vector<std::int32_t> next;  ///< [n]
  std::vector<float> factors;      ///< [n], or empty: 1
  double* ce = nullptr;            ///< [n], gets -log q(next[i]); or null

  [[nodiscard]] double factor(std::size_t i) const {
    return factors.empty() ? 1 : static_cast<double>(factors[i]);
  }
};

/// A loss as the head sees it.
struct HeadRows {
  /// Called before rows [first, first + count), on the calling thread; may be empty.
  std::function<void(std::int64_t first, std::int64_t count)> before;
  /// The value of one row from its logits [vocab]. With `gradient`, leaves d value / d logit in
  /// their place. Runs on many threads, once for each row.
  std::function<double(std::int64_t row, std::span<float> logits, bool gradient)> value;
  /// What `value` computes, where it is this: then it need not run on the CPU.
  std::shared_ptr<const TokenRows> tokens = {};
  std::int64_t at_once = 0;  ///< rows of a chunk; 0: rows_at_once(). On the CPU it changes no
                             ///< bit of the values and of the states' gradient
  /// Whether the gradients that come back for the rows may differ: then a head with a low-rank part
  /// works on all rows twice, the second time in the backward pass. `value` and `before` must own
  /// what they read.
  bool own_slopes = false;
};

/// rows.value of all rows of hidden [n, d_model]: float64 [n] on the CPU, differentiable, also with
/// respect to a low-rank part of the head.
[[nodiscard]] at::Tensor head_rows(const Decoder& model, const at::Tensor& hidden,
                                   const HeadRows& rows);

/// `total`, as a scalar whose gradient with respect to `values` (float64 [n]) is `slopes`.
[[nodiscard]] at::Tensor scalar_of(const at::Tensor& values, double total,
                                   const std::vector<double>& slopes);
/// The sum of all, in order.
[[nodiscard]] at::Tensor sum_of(const at::Tensor& values);

/// Logits of a model that learns nothing, chunk by chunk.
class TeacherLogits {
 public:
  /// hidden [rows, d_model] leaving the last block of `model`.
  TeacherLogits(const Decoder& model, const at::Tensor& hidden);
  /// Computes those of hidden[rows[i]]; -1 has none.
  void load(std::span<const std::int64_t> rows);
  /// Of the i-th row of the last load; empty where it was -1. May be written over.
  [[nodiscard]] std::span<float> row(std::int64_t i);

 private:
  const Decoder& model_;
  at::Tensor normed_, logits_;
  std::vector<std::int64_t> slot_;
};

}  // namespace lancet::losses
