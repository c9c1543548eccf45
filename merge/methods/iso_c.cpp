// Iso-C: isotropic merging in the common subspace. Marczak et al. 2025, arXiv:2502.04959.
//   D = sum_i w_i (x_i - b) = U S V              [d_out, d_in]
//   s = mean of the min(d_out, d_in) singular values
//   x = b + lambda s U V
// Embeddings, heads, vectors: x = b + lambda mean_i w_i d_i. Directions whose singular value is
// rounding alone are left out: they would be arbitrary ones, raised to s. Precision: float64.
#include <numeric>

#include "merge/matrices.h"

namespace lancet {
namespace {

constexpr MergeParameter kParameters[] = {
    factor_parameter(),
    lambda_parameter(),
};

Matrix merged(const MergeTask& task) {
  const Linalg& linalg = task.linalg();
  const Svd svd = linalg.svd(sum_of(read_deltas(task)));
  const double sum = std::accumulate(svd.values.begin(), svd.values.end(), 0.0);
  const std::size_t rank = numerical_rank(svd);
  Matrix left = columns_of(svd.left, 0, rank);
  const std::vector<double> mean(rank, sum / static_cast<double>(svd.values.size()));
  scale_columns(left, mean);
  return linalg.multiply(left, rows_of(svd.right, 0, rank));
}

Emit prepare(const MergeTask& task) {
  const double lambda = task.number("lambda");
  return is_matrix(task) ? emit_matrix(task, merged(task), lambda) : emit_mean(task, lambda);
}

}  // namespace

extern const Method merge_method_iso_c;
const Method merge_method_iso_c{.name = "iso_c",
                                .title = "Iso-C: the sum of deltas with equal singular values",
                                .paper = "arXiv:2502.04959",
                                .base = BaseUse::kRequired,
                                .parameters = kParameters,
                                .view = Method::View::kDeltas,
                                .needs_linalg = true,
                                .whole_tensors = 3,
                                .flat_spectrum = true,
                                .prepare = prepare};

}  // namespace lancet
