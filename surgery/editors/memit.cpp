// MEMIT, Mass-Editing Memory in a Transformer. Meng et al. 2023, arXiv:2210.07229.
//   delta W = R K^T (lambda C + K K^T)^-1                                            [d_model, d_k]
// as factors R [d_model, N] and A = (lambda C + K K^T)^-1 K [d_k, N], by Woodbury's identity
//   A = C^-1 K (lambda I + K^T C^-1 K)^-1
// so that C is factored once and what is solved per batch is N x N. The frame (values, keys,
// residuals, layers, turns) is mass_edit.h.
// history=1 (MEMIT-seq): keys H of earlier turns join the left-hand side, lambda C + H H^T + K K^T,
// so that what was written stays; 0 is the paper.
// lambda: the published 15,000 and 20,000 suit keys of 6B models. What counts is how it compares
// with k^T C^-1 k, so auto takes a share of its mean over the facts.
// Precision: keys in the model's precision, sums and solves in float64, factors rounded once to
// float32.
#include <map>

#include "model/runtime.h"
#include "surgery/mass_edit.h"
#include "surgery/solve.h"

namespace lancet {
namespace {

constexpr double kLambdaShare = 0.7;  ///< of the mean k^T C^-1 k

constexpr Parameter kOwn[] = {
    {"lambda", kAuto, 1e-9, 1e12, false,
     "weight of the covariance; auto: 0.7 of the mean of k^T C^-1 k over the facts"},
    {"history", 1, 0, 1, true, "1 = what earlier turns wrote is kept (MEMIT-seq)"},
    kProtectKeys,
    kAlikeKeys,
};
const std::vector<Parameter> kNumbers = mass_edit_numbers(kOwn);

/// C of one layer, factored once.
struct Metric {
  at::Tensor matrix;
  SpdSolver solver;
  explicit Metric(const at::Tensor& covariance) : matrix(covariance), solver(covariance) {}
};

/// (lambda C + H H^T + K K^T)^-1 K from a solver of S = C, or of S = lambda C + H H^T with weight
/// 1: columns of K in S^-1 M (weight I + M^T S^-1 M)^-1, M = [K, panel].
Adjusted solve_panel(const SpdSolver& solver, const at::Tensor& keys, const at::Tensor& panel,
                     double weight) {
  const at::Tensor all = panel.defined() ? at::cat({keys, panel}, 1) : keys;
  const Solution solved = solver.solve(all);
  at::Tensor gram = at::matmul(all.t(), solved.x);
  gram = (gram + gram.t()) / 2;
  gram.diagonal().add_(weight);
  const SpdSolver small(gram);
  const Solution weights =
      small.solve(at::eye(all.size(1), at::kDouble).narrow(1, 0, keys.size(1)));
  return {at::matmul(solved.x, weights.x),
          std::max(solved.residual, weights.residual),
          {{"ridge", solver.ridge()}, {"small_ridge", small.ridge()}}};
}

Adjusted adjust(const Metric& metric, const at::Tensor& keys, const PastKeys& past,
                const Parameters& parameters) {
  const OneThread inside;  // the bits must not depend on the thread count
  const double size =
      (keys * metric.solver.solve(keys).x).sum(0).mean().item<double>();  // k^T C^-1 k
  const double lambda = parameters.number_or("lambda", kLambdaShare * size);
  Adjusted out;
  if (past.moment().defined()) {
    const at::Tensor c =
        metric.matrix.defined() ? metric.matrix : at::eye(keys.size(0), at::kDouble);
    out = solve_panel(SpdSolver(lambda * c + past.moment()), keys, {}, 1);
  } else {
    out = solve_panel(metric.solver, keys, past.panel(), lambda);
  }
  out.notes["lambda"] = lambda;
  out.notes["key_size"] = size;
  return out;
}

EditPlan plan(const EditInput& input) {
  std::map<std::int64_t, Metric> metrics;
  return plan_mass_edit(
      input, [&](std::int64_t layer, const at::Tensor& keys, const PastKeys& past) {
        const Metric& metric = metrics.try_emplace(layer, input.covariance(layer)).first->second;
        return adjust(metric, keys, past, input.parameters);
      });
}

}  // namespace

extern const Editor editor_memit;
const Editor editor_memit{.name = "memit",
                          .title = "MEMIT: many facts at once, spread over layers",
                          .paper = "arXiv:2210.07229",
                          .numbers = kNumbers,
                          .words = mass_edit_words(),
                          .max_facts = 0,
                          .reach = Reach::kRange,
                          .experts = true,
                          .plan = plan};

}  // namespace lancet
