#include "surgery/solve.h"

#include <fmt/format.h>

#include "core/error.h"
#include "model/runtime.h"

namespace lancet {

SpdSolver::SpdSolver(const at::Tensor& matrix) {
  if (!matrix.defined() || matrix.numel() == 0) return;
  const OneThread inside;  // the factor's bits must not depend on the thread count
  matrix_ = matrix.to(at::kCPU, at::kDouble);
  if (!matrix_.isfinite().all().item<bool>()) {
    fail(ErrorKind::kNumeric, "covariance",
         "expected finite second moments, found NaN or infinity");
  }
  const double mean = matrix_.diagonal().mean().item<double>();
  for (const double ridge : {0.0, 1e-12, 1e-10, 1e-8, 1e-6, 1e-4}) {
    at::Tensor shifted = matrix_;
    if (ridge > 0) {
      shifted = matrix_.clone();
      shifted.diagonal().add_(ridge * mean);
    }
    const auto [factor, info] = at::linalg_cholesky_ex(shifted);
    if (info.item<int>() != 0) continue;
    factor_ = factor;
    matrix_ = shifted;
    ridge_ = ridge * mean;
    return;
  }
  fail(ErrorKind::kNumeric, "covariance",
       fmt::format(
           "the second moments ({} x {}) are not positive definite, even with a ridge of 1e-4",
           matrix_.size(0), matrix_.size(0)),
       "collect them over more tokens, or give --covariance none");
}

Solution SpdSolver::solve(const at::Tensor& b) const {
  const OneThread inside;
  const at::Tensor rhs = b.to(at::kCPU, at::kDouble);
  if (!factor_.defined()) return {rhs.clone(), 0};
  const at::Tensor columns = rhs.dim() == 1 ? rhs.unsqueeze(1) : rhs;
  at::Tensor x = at::cholesky_solve(columns, factor_);
  x = x + at::cholesky_solve(columns - at::matmul(matrix_, x), factor_);
  const double scale = columns.norm().item<double>();
  const double rest = (at::matmul(matrix_, x) - columns).norm().item<double>();
  if (!x.isfinite().all().item<bool>())
    fail(ErrorKind::kNumeric, "covariance", "the solution is not finite");
  return {rhs.dim() == 1 ? x.squeeze(1) : x, scale > 0 ? rest / scale : 0};
}

}  // namespace lancet
