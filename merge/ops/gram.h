#pragma once
// Inner products between the inputs of a tensor. Everything that spherical and averaging methods
// need is a linear combination of their inputs, so that the coefficients can be found from these
// numbers alone.

#include <vector>

#include "merge/task.h"

namespace lancet::ops {

/// Symmetric [n, n] in float64.
class Gram {
 public:
  Gram() = default;
  explicit Gram(std::size_t n) : n_(n), values_(n * n) {}
  [[nodiscard]] std::size_t size() const noexcept { return n_; }
  [[nodiscard]] double& at(std::size_t i, std::size_t j) { return values_[i * n_ + j]; }
  [[nodiscard]] double at(std::size_t i, std::size_t j) const { return values_[i * n_ + j]; }
  [[nodiscard]] double norm(std::size_t i) const;
  /// <sum a_i x_i, sum b_i x_i>.
  [[nodiscard]] double dot(const std::vector<double>& a, const std::vector<double>& b) const;

 private:
  std::size_t n_ = 0;
  std::vector<double> values_;
};

/// Of the task's models, as its method's view gives them; with `base_first`, of the base and the
/// models.
[[nodiscard]] Gram gram_of(const MergeTask& task, bool base_first = false);
/// Of spans of equal size.
[[nodiscard]] Gram gram_of(const std::vector<In>& vectors);

}  // namespace lancet::ops
