#pragma once
// The linear systems of editing, in float64 with the residual reported.

#include <cstdint>
#include <memory>

#include <ATen/ATen.h>

namespace lancet {

struct Solution {
  at::Tensor x;         ///< float64 [n] or [n, m]
  double residual = 0;  ///< |C x - b| / |b|
};

/// A symmetric positive definite C, factored once. An empty tensor stands for the identity.
class SpdSolver {
 public:
  /// Cholesky; where C is not positive definite to working precision a ridge (the smallest of
  /// 1e-12, 1e-10 ... 1e-4 times the mean diagonal that works) is added and told by ridge().
  /// kNumeric if none does.
  explicit SpdSolver(const at::Tensor& matrix);
  /// With one step of iterative refinement.
  [[nodiscard]] Solution solve(const at::Tensor& b) const;
  [[nodiscard]] double ridge() const noexcept { return ridge_; }

 private:
  at::Tensor matrix_, factor_;
  double ridge_ = 0;
};

}  // namespace lancet
