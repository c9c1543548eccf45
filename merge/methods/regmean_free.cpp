// RegMean without data, in closed form: the objective of WUDI (Cheng et al. 2025, arXiv:2503.08099)
// with a ridge instead of an early stop.
//   d_i = w_i (x_i - b)                          [d_out, d_in], N models
//   minimise over X   sum_i |(X - d_i) d_i^T|_F^2 / |d_i|_F^2  +  mu |X - X0|_F^2
//   a_i = 1 / |d_i|_F^2,  G_i = d_i^T d_i,  K = sum_i a_i G_i,  mu = ridge tr(K) / d_in
//   X   = (sum_i a_i d_i G_i + mu X0) (K + mu I)^-1,  X0 = sum_i d_i
//   x   = b + lambda X
// Where the rows of all models together are fewer than d_in, the inverse is taken in their space
// (Woodbury): with D = the rows of sqrt(a_i) d_i,  (D^T D + mu I)^-1 = (I - D^T (D D^T + mu I)^-1
// D) / mu. Embeddings, heads, vectors: x = b + lambda mean_i d_i. Precision: float64.
#include <algorithm>
#include <cmath>

#include "merge/matrices.h"

namespace lancet {
namespace {

constexpr MergeParameter kParameters[] = {
    factor_parameter(),
    {.name = "ridge",
     .fallback = 0.1,
     .minimum = 1e-9,
     .maximum = 1e6,
     .help = "pull towards the sum of the deltas, relative to the mean of K's diagonal"},
    lambda_parameter(),
};

void add_to_diagonal(Matrix& a, double value) {
  for (std::size_t i = 0; i < a.rows; ++i) a.at(i, i) += value;
}

/// right (D^T D + mu I)^-1.
Matrix times_inverse(const Linalg& linalg, const Matrix& right, const Matrix& stacked, double mu) {
  if (stacked.rows >= stacked.columns) {
    Matrix k = linalg.multiply(stacked, stacked, true);
    add_to_diagonal(k, mu);
    return transposed(linalg.solve(k, transposed(right)));
  }
  Matrix inner = linalg.multiply(stacked, stacked, false, true);
  add_to_diagonal(inner, mu);
  const Matrix seen = linalg.multiply(stacked, right, false, true);  // D right^T
  Matrix out = right;
  add_scaled(out, linalg.multiply(linalg.solve(inner, seen), stacked, true), -1);
  ops::scale(out.values, 1 / mu);
  return out;
}

Matrix merged(const MergeTask& task) {
  const Linalg& linalg = task.linalg();
  const std::vector<Matrix> deltas = read_deltas(task);
  std::vector<Matrix> parts;
  Matrix right(deltas[0].rows, deltas[0].columns);
  for (const Matrix& delta : deltas) {
    const double size = squared_norm(delta);
    if (size == 0) continue;
    parts.push_back(delta);
    ops::scale(parts.back().values, 1 / std::sqrt(size));  // sqrt(a_i) d_i
    const Matrix rows = linalg.multiply(parts.back(), parts.back(), false, true);
    add_scaled(right, linalg.multiply(rows, delta), 1);  // a_i d_i d_i^T d_i
  }
  if (parts.empty()) return right;
  // Every a_i G_i has the trace 1.
  const double mu =
      task.number("ridge") * static_cast<double>(parts.size()) / static_cast<double>(right.columns);
  add_scaled(right, sum_of(deltas), mu);
  return times_inverse(linalg, right, below(parts), mu);
}

Emit prepare(const MergeTask& task) {
  const double lambda = task.number("lambda");
  return is_matrix(task) ? emit_matrix(task, merged(task), lambda) : emit_mean(task, lambda);
}

}  // namespace

extern const Method merge_method_regmean_free;
const Method merge_method_regmean_free{.name = "regmean_free",
                                       .title = "RegMean with deltas for data, in closed form",
                                       .paper = "arXiv:2503.08099",
                                       .base = BaseUse::kRequired,
                                       .parameters = kParameters,
                                       .view = Method::View::kDeltas,
                                       .needs_linalg = true,
                                       .whole_tensors = 3,
                                       .prepare = prepare};

}  // namespace lancet
