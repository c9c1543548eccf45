// Iso-CTS: isotropic merging in common and task-specific subspaces. Marczak et al. 2025,
// arXiv:2502.04959.
//   d_i = w_i (x_i - b),  D = sum_i d_i = U S V      [d_out, d_in], N models, r = min(d_out, d_in)
//   t   = round((r - floor(common r)) / N)           triplets of each task's own, halves to even
//   c   = r - N t                                    triplets of the common subspace
//   d_i - U_c U_c^T d_i = U_i S_i V_i                what the common subspace does not hold
//   U   = [U_1[t] .. U_N[t] U_c],  V and S likewise; U and V replaced by the nearest orthonormal
//   s   = mean of all S
//   x   = b + lambda s U V
// Embeddings, heads, vectors: x = b + lambda mean_i d_i. Triplets that are rounding alone are left
// out, in the mean as zeros. Precision: float64.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "merge/matrices.h"

namespace lancet {
namespace {

constexpr MergeParameter kParameters[] = {
    factor_parameter(),
    {.name = "common",
     .fallback = 0.8,
     .minimum = 0,
     .maximum = 1,
     .help = "share of the directions that is taken from the sum of all deltas"},
    lambda_parameter(),
    svd_parameter(),
};

struct Subspaces {
  std::vector<Matrix> lefts, rights;
  double sum = 0;

  void add(const Svd& svd, std::size_t least_count) {
    const std::size_t rank = std::min(least_count, numerical_rank(svd));
    lefts.push_back(columns_of(svd.left, 0, rank));
    rights.push_back(rows_of(svd.right, 0, rank));
    for (std::size_t r = 0; r < rank; ++r) sum += svd.values[r];
  }
};

/// d - U_c U_c^T d, and with it the scale below which a singular value is rounding.
Matrix without_common(const Linalg& linalg, const Matrix& common, Matrix delta) {
  if (common.columns == 0) return delta;
  const Matrix inside = linalg.multiply(common, linalg.multiply(common, delta, true));
  const double before = std::sqrt(squared_norm(delta));
  add_scaled(delta, inside, -1);
  const bool rounding = std::sqrt(squared_norm(delta)) <= 1e-12 * before;
  if (rounding) ops::fill(delta.values, 0);
  return delta;
}

Matrix merged(const MergeTask& task) {
  const Linalg& linalg = task.linalg();
  std::vector<Matrix> deltas = read_deltas(task);
  const auto least = static_cast<double>(std::min(deltas[0].rows, deltas[0].columns));
  const auto models = static_cast<double>(deltas.size());
  const double wanted = std::floor(task.number("common") * least);
  const double own =
      std::min(std::nearbyint((least - wanted) / models), std::floor(least / models));
  const auto tasks = static_cast<std::size_t>(own);
  const auto common = static_cast<std::size_t>(least - own * models);
  const Svd sum = linalg.svd(sum_of(deltas));
  const Matrix shared = columns_of(sum.left, 0, std::min(common, numerical_rank(sum)));
  Subspaces spaces;
  for (Matrix& delta : deltas) delta = without_common(linalg, shared, std::move(delta));
  if (tasks > 0) {
    for (const Svd& svd : svds_of(linalg, deltas, tasks, svd_mode(task))) spaces.add(svd, tasks);
  }
  spaces.add(sum, common);
  Matrix left = beside(spaces.lefts);
  if (left.columns == 0) return Matrix(sum.left.rows, sum.right.columns);
  left = polar_factor(linalg, left);
  const std::vector<double> mean(left.columns, spaces.sum / least);
  scale_columns(left, mean);
  return linalg.multiply(left, polar_factor(linalg, below(spaces.rights)));
}

Emit prepare(const MergeTask& task) {
  const double lambda = task.number("lambda");
  return is_matrix(task) ? emit_matrix(task, merged(task), lambda) : emit_mean(task, lambda);
}

}  // namespace

extern const Method merge_method_iso_cts;
const Method merge_method_iso_cts{
    .name = "iso_cts",
    .title = "Iso-CTS: common and task-specific directions with equal singular values",
    .paper = "arXiv:2502.04959",
    .base = BaseUse::kRequired,
    .parameters = kParameters,
    .view = Method::View::kDeltas,
    .needs_linalg = true,
    .whole_tensors = 4,
    .flat_spectrum = true,
    .prepare = prepare};

}  // namespace lancet
