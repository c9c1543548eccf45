#pragma once
// ROME as its paper writes it, in plain float64: whole forward passes of a tiny Llama from the
// embeddings in every step, no caching, no batching, exact gradients by dual numbers. Slow and
// obvious on purpose.

#include <cstdint>
#include <functional>
#include <map>
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
  bool at_stream = false;  ///< v_0 is the stream leaving the block (MEMIT), not the MLP's output
  std::size_t first_rows = 0;  ///< rows of the first passes (value.h), 0 = all
  double lr = 0.5, clamp = 4, kl = 0.0625, weight_decay = 1e-3, stop = 0.05;
};

struct Solution {
  std::vector<double> key;                  ///< k* [d_ff]
  std::vector<double> value;                ///< v* [d_model]
  std::vector<std::vector<double>> losses;  ///< total, NLL, KL, decay, mean probability
  std::vector<double> left, right;          ///< W + left right^T, consistent keys (r-ROME)
};

[[nodiscard]] Solution rome(const Problem& problem);

/// A [d_ff, facts] for K [d_ff, facts], both row-major.
using Answer =
    std::function<std::vector<double>(std::int64_t layer, const std::vector<double>& keys)>;

struct MassSolution {
  std::vector<std::vector<double>> values;                          ///< z of each fact
  std::vector<std::vector<std::vector<double>>> losses;             ///< of each fact
  std::map<std::int64_t, std::vector<double>> keys, left, answers;  ///< of each layer [d, facts]
};
/// MEMIT's frame (editing reference 1.4) over `layers`; z at the last one. `facts` share everything
/// but their rows and targets; their layer is ignored.
[[nodiscard]] MassSolution mass_edit(const std::vector<Problem>& facts,
                                     const std::vector<std::int64_t>& layers, const Answer& answer);

/// Logits of the last position, for a check of the forward pass itself.
[[nodiscard]] std::vector<double> last_logits(const tiny_edit::Weights& weights,
                                              const std::vector<std::int32_t>& ids);

}  // namespace lancet::reference
