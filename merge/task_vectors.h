#pragma once
// The task-vector family: b + lambda * (a weighted sum or sign-consensus mean of sparsified
// deltas). Eight methods differ in the sparsifier, the consensus and the defaults only.
//   d_i = x_i - b                        delta                               [any shape]
//   s_i = sparsify(d_i) * rescale_i      rescale_i = |d_i|_1 / |sparsify(d_i)|_1, or 1
//   u_i = w_i s_i
//   without consensus:  m = sum_i u_i,                       D = sum_i w_i
//   with consensus:     S = sum_i u_i,  agree_i = sgn(u_i) == sgn(S)   (S = 0 elects +; u_i = 0
//   never agrees)
//                       m = sum_i u_i agree_i,               D = sum_i w_i agree_i
//   x = b + lambda * m / D               / D only with `normalize`; D = 0 counts as 1
// Precision: float64 throughout.

#include <functional>
#include <memory>
#include <optional>

#include "merge/task.h"

namespace lancet {

/// Zeroes elements of one model's delta in a block. Thread-safe.
using Sparsify = std::function<void(const Block& block, std::size_t model, ops::Out delta)>;

struct TaskVectorRule {
  bool consensus = false;
  Sparsify sparsify;  ///< empty: keep everything
  /// Multiplier that gives the kept elements the mass of all: |d|_1 / |kept|_1 measured on the
  /// tensor, or (paper semantics of random masks) already part of `sparsify`.
  bool measure_rescale = false;
};

[[nodiscard]] Emit merge_task_vectors(const MergeTask& task, const TaskVectorRule& rule);

/// Keeps the `density` share with the largest |d| of each tensor, at least one element unless
/// density is 0.
[[nodiscard]] Sparsify keep_largest(const MergeTask& task);
/// Keeps `density`, after dropping the `gamma` share of the largest |d|.
[[nodiscard]] Sparsify keep_middle(const MergeTask& task);
/// DARE: keeps each element with probability `density`; `unbiased` divides what is kept by it.
[[nodiscard]] Sparsify keep_random(const MergeTask& task, bool unbiased);
/// DELLA: keeps an element with probability density - epsilon + 2 epsilon r, r in [0, 1] the rank
/// of |d| in its row; `unbiased` divides what is kept by its probability. Wants blocks of rows.
[[nodiscard]] Sparsify keep_ranked(const MergeTask& task, bool unbiased);
/// Method::fault of its methods: density - epsilon and density + epsilon are probabilities.
[[nodiscard]] std::optional<ParameterFault> ranked_fault(const MergeTask& task);

/// DARE and DELLA: what `mask` keeps, given the mass of the whole delta, or (paper semantics)
/// divided by the probability of keeping it.
[[nodiscard]] Emit merge_by_chance(const MergeTask& task, bool consensus,
                                   Sparsify (*mask)(const MergeTask& task, bool unbiased));

/// Of DELLA, and of Breadcrumbs.
[[nodiscard]] constexpr MergeParameter epsilon_parameter() {
  return {.name = "epsilon",
          .fallback = 0.15,
          .minimum = 0,
          .maximum = 1,
          .per_model = true,
          .help = "half the spread of the keep probabilities"};
}
[[nodiscard]] constexpr MergeParameter gamma_parameter() {
  return {.name = "gamma",
          .fallback = 0.01,
          .minimum = 0,
          .maximum = 1,
          .per_model = true,
          .help = "share of the largest elements that is dropped"};
}
/// The parameters that all eight share.
[[nodiscard]] constexpr MergeParameter weight_parameter() {
  return {.name = "weight",
          .fallback = kMustBeGiven,
          .minimum = -1e6,
          .maximum = 1e6,
          .per_model = true,
          .help = "factor of the model's delta; negative subtracts it"};
}
/// For methods whose papers add the deltas as they are.
[[nodiscard]] constexpr MergeParameter factor_parameter() {
  return {.name = "weight",
          .fallback = 1,
          .minimum = -1e6,
          .maximum = 1e6,
          .per_model = true,
          .help = "factor of the model's delta"};
}
[[nodiscard]] constexpr MergeParameter density_parameter() {
  return {.name = "density",
          .fallback = 1,
          .minimum = 0,
          .maximum = 1,
          .per_model = true,
          .help = "share of the delta's elements that is kept"};
}
[[nodiscard]] constexpr MergeParameter normalize_parameter(bool fallback) {
  return {.name = "normalize",
          .kind = MergeParameter::Kind::kFlag,
          .fallback = fallback ? 1.0 : 0.0,
          .minimum = 0,
          .maximum = 1,
          .help = "divide by the sum of the weights that take part"};
}
[[nodiscard]] constexpr MergeParameter rescale_parameter(bool fallback) {
  return {.name = "rescale",
          .kind = MergeParameter::Kind::kFlag,
          .fallback = fallback ? 1.0 : 0.0,
          .minimum = 0,
          .maximum = 1,
          .help = "give the kept elements the mass of the whole delta"};
}
[[nodiscard]] constexpr MergeParameter lambda_parameter() {
  return {.name = "lambda",
          .fallback = 1,
          .minimum = -1e6,
          .maximum = 1e6,
          .help = "scale of the merged delta"};
}
[[nodiscard]] constexpr MergeParameter int8_mask_parameter() {
  return {.name = "int8_mask",
          .kind = MergeParameter::Kind::kFlag,
          .fallback = 0,
          .minimum = 0,
          .maximum = 1,
          .help = "accepted for mergekit's sake: it never changed a result"};
}

}  // namespace lancet
