#include "merge/post.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "merge/matrices.h"

namespace lancet {
namespace {

/// x - b as a matrix [d_out, d_in].
Matrix merged_delta(const MergeTask& task, const Emit& emit) {
  const auto rows = static_cast<std::size_t>(task.shape()[0]);
  Matrix out(rows, task.elements() / rows);
  task.scan<int>([] { return 0; },
                 [&](const Block& block, int&) {
                   const auto own = std::span(out.values).subspan(block.begin, block.size);
                   emit(block, own);
                   ops::subtract(own, block.base);
                 });
  return task.transposed() ? transposed(out) : out;
}

void calibrate(const Linalg& linalg, const std::vector<Matrix>& deltas, double alpha, Svd& svd) {
  const std::size_t rank = numerical_rank(svd);
  std::vector<double> totals(rank);
  for (const Matrix& delta : deltas) {
    const Matrix projected = linalg.multiply(svd.left, delta, true);
    for (std::size_t r = 0; r < rank; ++r) {
      const auto p = projected.row(r);
      const double size = ops::dot(p, p);
      const double share = size > 0 ? svd.values[r] * ops::dot(svd.right.row(r), p) / size : 0;
      totals[r] += std::max(alpha, share);
    }
  }
  for (std::size_t r = 0; r < rank; ++r)
    svd.values[r] *= static_cast<double>(deltas.size()) / totals[r];
}

void boost(double threshold, Svd& svd) {
  const std::size_t rank = numerical_rank(svd);
  const auto values = std::span(svd.values).first(rank);
  const double wanted = threshold * std::accumulate(values.begin(), values.end(), 0.0);
  double sum = 0, least = 0;
  for (const double value : values) {
    sum += value;
    least = value;
    if (sum >= wanted) break;
  }
  for (double& value : values) value = std::max(value, least);
}

}  // namespace

Emit apply_post(const MergeTask& task, const Method& method, const RecipePost& post, Emit emit) {
  if (!post.needs_linalg() || !is_matrix(task)) return emit;
  const Linalg& linalg = task.linalg();
  Svd svd = linalg.svd(merged_delta(task, emit));
  if (post.svc) {
    const std::vector<double> ones(task.models(), 1.0);
    calibrate(linalg, read_deltas(task, method.view, ones), *post.svc, svd);
  }
  if (post.boost) boost(*post.boost, svd);
  scale_columns(svd.left, svd.values);
  return emit_matrix(task, linalg.multiply(svd.left, svd.right), 1);
}

Emit scale_delta(Emit emit, double factor) {
  return [emit = std::move(emit), factor](const Block& block, ops::Out out) {
    emit(block, out);
    ops::subtract(out, block.base);
    ops::scale(out, factor);
    ops::add(out, block.base);
  };
}

}  // namespace lancet
