#pragma once
// ROME as its paper writes it, in plain float64: whole forward passes of a tiny Llama from the
// embeddings in every step, no caching, no batching, exact gradients by dual numbers. Slow and
// obvious on purpose.

#include <cstdint>
#include <vector>

#include "tests/surgery/tiny_edit.h"

namespace lancet::reference {

struct Prompt {
  std::vector<std::int32_t> ids;
  std::int64_t lookup = 0;  ///< subject's last token
};

struct Problem {
  const tiny_edit::Weights& weights;
  std::vector<Prompt> rewriting;  ///< row 0 bare; target tokens but the last appended
  Prompt subject;                 ///< row of the KL term
  std::vector<std::int32_t> target;
  std::int64_t layer = 0;
  std::vector<double> covariance;  ///< [d_ff, d_ff]
  int steps = 25;
  double lr = 0.5, clamp = 4, kl = 0.0625, weight_decay = 1e-3, stop = 0.05;
};

struct Solution {
  std::vector<double> key;                  ///< k* [d_ff]
  std::vector<double> value;                ///< v* [d_model]
  std::vector<std::vector<double>> losses;  ///< total, NLL, KL, decay, mean probability
  std::vector<double> left, right;          ///< W + left right^T, consistent keys (r-ROME)
};

[[nodiscard]] Solution rome(const Problem& problem);

/// Logits of the last position, for a check of the forward pass itself.
[[nodiscard]] std::vector<double> last_logits(const tiny_edit::Weights& weights,
                                              const std::vector<std::int32_t>& ids);

}  // namespace lancet::reference
