// TSV-Merge: task singular vectors. Gargiulo et al. 2024, arXiv:2412.00081.
//   d_i = w_i (x_i - b) = U_i S_i V_i            [d_out, d_in], N models
//   k   = floor(min(d_out, d_in) / N), at least 1: the triplets that each model keeps
//   U   = [U_1 .. U_N],  V likewise, then the nearest orthonormal matrices: U = P D Q -> P Q
//   x   = b + lambda U S V
// Embeddings, heads, vectors: x = b + lambda mean_i d_i. A model keeps no triplet whose singular
// value is rounding alone: its vectors would be arbitrary and would turn the others'. Precision:
// float64.
#include <algorithm>

#include "merge/matrices.h"

namespace lancet {
namespace {

constexpr MergeParameter kParameters[] = {
    factor_parameter(),
    lambda_parameter(),
    svd_parameter(),
};

Matrix merged(const MergeTask& task, const std::vector<Matrix>& deltas) {
  const Linalg& linalg = task.linalg();
  const std::size_t least = std::min(deltas[0].rows, deltas[0].columns);
  const std::size_t k = std::max<std::size_t>(1, least / deltas.size());
  std::vector<Matrix> lefts, rights;
  std::vector<double> values;
  for (const Svd& svd : svds_of(linalg, deltas, k, svd_mode(task))) {
    const std::size_t rank = numerical_rank(svd);
    lefts.push_back(columns_of(svd.left, 0, rank));
    rights.push_back(rows_of(svd.right, 0, rank));
    values.insert(values.end(), svd.values.begin(),
                  svd.values.begin() + static_cast<std::ptrdiff_t>(rank));
  }
  if (values.empty()) return Matrix(deltas[0].rows, deltas[0].columns);
  Matrix left = polar_factor(linalg, beside(lefts));
  scale_columns(left, values);
  return linalg.multiply(left, polar_factor(linalg, below(rights)));
}

Emit prepare(const MergeTask& task) {
  const double lambda = task.number("lambda");
  if (!is_matrix(task)) return emit_mean(task, lambda);
  return emit_matrix(task, merged(task, read_deltas(task)), lambda);
}

}  // namespace

extern const Method merge_method_tsv_m;
const Method merge_method_tsv_m{
    .name = "tsv_m",
    .title = "TSV-Merge: each task's first singular vectors, decorrelated",
    .paper = "arXiv:2412.00081",
    .base = BaseUse::kRequired,
    .parameters = kParameters,
    .view = Method::View::kDeltas,
    .needs_linalg = true,
    .whole_tensors = 3,
    .prepare = prepare};

}  // namespace lancet
