#include "merge/matrices.h"

#include <algorithm>
#include <limits>
#include <memory>

#include "core/parallel.h"

namespace lancet {

bool is_matrix(const MergeTask& task) {
  return task.shape().size() == 2 && !task.embedding() && task.elements() > 0;
}

std::vector<Matrix> read_deltas(const MergeTask& task, Method::View view,
                                const std::vector<double>& weights) {
  const auto rows = static_cast<std::size_t>(task.shape()[0]);
  std::vector<Matrix> out(task.models(), Matrix(rows, task.elements() / rows));
  task.scan<int>([] { return 0; },
                 [&](const Block& block, int&) {
                   for (std::size_t i = 0; i < out.size(); ++i) {
                     const ops::Out delta = block.models[i];
                     if (view == Method::View::kValues) ops::subtract(delta, block.base);
                     if (weights[i] != 1) ops::scale(delta, weights[i]);
                     ops::copy(std::span(out[i].values).subspan(block.begin, block.size), delta);
                   }
                 });
  if (task.transposed()) {
    for (Matrix& each : out) each = transposed(each);
  }
  return out;
}

std::vector<Matrix> read_deltas(const MergeTask& task) {
  return read_deltas(task, Method::View::kDeltas, task.numbers("weight"));
}

Matrix sum_of(const std::vector<Matrix>& matrices) {
  Matrix sum = matrices.at(0);
  for (std::size_t i = 1; i < matrices.size(); ++i) add_scaled(sum, matrices[i], 1);
  return sum;
}

Emit emit_matrix(const MergeTask& task, Matrix merged, double scale) {
  if (task.transposed()) merged = transposed(merged);
  // Shared: an Emit is copied.
  return [merged = std::make_shared<const Matrix>(std::move(merged)), scale](const Block& block,
                                                                             ops::Out out) {
    ops::copy(out, std::span(merged->values).subspan(block.begin, block.size));
    ops::scale(out, scale);
    ops::add(out, block.base);
  };
}

Emit emit_mean(const MergeTask& task, double scale) {
  std::vector<double> shares = task.numbers("weight");
  for (double& share : shares) share /= static_cast<double>(task.models());
  return [shares = std::move(shares), scale](const Block& block, ops::Out out) {
    ops::weigh(out, block.models, shares, scale, block.base);
  };
}

std::vector<Svd> svds_of(const Linalg& linalg, const std::vector<Matrix>& matrices,
                         std::size_t rank, SvdMode mode) {
  std::vector<Svd> out(matrices.size());
  parallel::for_each(matrices.size(), [&](std::size_t i) {
    out[i] = truncated_svd(linalg, matrices[i], rank, mode);
  });
  return out;
}

std::size_t numerical_rank(const Svd& svd) {
  if (svd.values.empty()) return 0;
  const auto size = static_cast<double>(std::max(svd.left.rows, svd.right.columns));
  const double least = svd.values[0] * size * std::numeric_limits<double>::epsilon();
  return static_cast<std::size_t>(
      std::ranges::count_if(svd.values, [&](double value) { return value > least; }));
}

}  // namespace lancet
