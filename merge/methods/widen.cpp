// WIDEN: merging by disentangled weights. Yu et al. 2024, arXiv:2408.03092.
//   matrix [d_out, d_in]: for each column c (for an embedding [vocab, d]: each row)
//     m   = |W_c|,  D = W_c / m                              magnitude and direction
//     dm_i = |m_i - m_b|,  dD_i = 1 - cos(D_i, D_b)          divergence of model i from the base
//     r   = rank of the divergence among the model's columns / number of columns
//     S_i = softmax of r_i over the models, but `calibration` where r_i > above * mean of r_i
//     x   = b + sum_i (S(dm)_i + S(dD)_i) / 2 (x_i - b)      column by column
//   anything else: each element is a column, with dm_i = |x_i - b| and S(dm) alone
// Where a column is zero in both models its direction has not moved; where in one, dD = 1. Equal
// divergences keep the order of their columns. Precision: float64.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "merge/ops/columns.h"
#include "merge/ops/elements.h"
#include "merge/task_vectors.h"

namespace lancet {
namespace {

constexpr MergeParameter kParameters[] = {
    {.name = "above",
     .fallback = 1,
     .minimum = 0,
     .maximum = 1e6,
     .help = "a rank above so many times the mean counts as important"},
    {.name = "calibration",
     .fallback = 1,
     .minimum = 0,
     .maximum = 1e6,
     .help = "score of what is important"},
};

using Columns = std::vector<double>;
using Axis = ops::ColumnGrid::Axis;

Axis axis_of(const MergeTask& task) {
  if (task.shape().size() != 2) return Axis::kElements;
  return task.embedding() || task.transposed() ? Axis::kRows : Axis::kColumns;
}

/// Position / number of columns in ascending order.
Columns ranks_of(const Columns& divergence) {
  std::vector<std::size_t> order(divergence.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](std::size_t c) { return divergence[c]; });
  Columns ranks(divergence.size());
  for (std::size_t k = 0; k < order.size(); ++k)
    ranks[order[k]] = static_cast<double>(k) / static_cast<double>(order.size());
  return ranks;
}

/// Scores [model][column] from divergences.
std::vector<Columns> scores_of(const MergeTask& task, std::vector<Columns> divergences) {
  const std::size_t columns = divergences[0].size();
  for (Columns& each : divergences) each = ranks_of(each);
  // The mean of the ranks 0 .. n - 1 over n, as exact as the middle rank itself.
  const auto count = static_cast<double>(columns);
  const double bound = task.number("above") * ((count - 1) / 2) / count;
  std::vector<Columns> scores(divergences.size(), Columns(columns));
  for (std::size_t c = 0; c < columns; ++c) {
    double total = 0;
    for (const Columns& ranks : divergences) total += std::exp(ranks[c]);
    for (std::size_t i = 0; i < divergences.size(); ++i) {
      const double rank = divergences[i][c];
      scores[i][c] = rank > bound ? task.number("calibration") : std::exp(rank) / total;
    }
  }
  return scores;
}

/// For each model |x_c|^2 and <x_c, b_c>, and |b_c|^2 last.
std::vector<double> column_sums(const MergeTask& task, Axis axis, std::size_t columns) {
  const ops::ColumnGrid grid{axis, task.width()};
  return task.sum(
      (2 * task.models() + 1) * columns, [&](const Block& block, std::span<double> sums) {
        ops::add_column_sums(sums, block.base, block.models, columns, grid, block.begin);
      });
}

std::vector<Columns> matrix_scores(const MergeTask& task, Axis axis) {
  const auto columns = static_cast<std::size_t>(task.shape()[axis == Axis::kRows ? 0 : 1]);
  const std::vector<double> sums = column_sums(task, axis, columns);
  const std::size_t models = task.models();
  std::vector<Columns> lengths(models, Columns(columns)), turns(models, Columns(columns));
  for (std::size_t i = 0; i < models; ++i) {
    for (std::size_t c = 0; c < columns; ++c) {
      const double own = sums[2 * i * columns + c], base = sums[2 * models * columns + c];
      lengths[i][c] = std::fabs(std::sqrt(own) - std::sqrt(base));
      // One root of the product: exactly 1 where nothing has turned.
      const bool turned = own > 0 && base > 0;
      turns[i][c] = turned ? 1 - sums[(2 * i + 1) * columns + c] / std::sqrt(own * base)
                           : (own > 0 || base > 0 ? 1.0 : 0.0);
    }
  }
  std::vector<Columns> scores = scores_of(task, std::move(lengths));
  const std::vector<Columns> directions = scores_of(task, std::move(turns));
  for (std::size_t i = 0; i < models; ++i) {
    for (std::size_t c = 0; c < columns; ++c) scores[i][c] = (scores[i][c] + directions[i][c]) / 2;
  }
  return scores;
}

std::vector<Columns> element_scores(const MergeTask& task) {
  std::vector<Columns> changes(task.models(), Columns(task.elements()));
  task.scan<int>([] { return 0; },
                 [&](const Block& block, int&) {
                   for (std::size_t i = 0; i < changes.size(); ++i) {
                     ops::distance(std::span(changes[i]).subspan(block.begin, block.size),
                                   block.models[i], block.base);
                   }
                 });
  return scores_of(task, std::move(changes));
}

Emit prepare(const MergeTask& task) {
  const Axis axis = axis_of(task);
  return [grid = ops::ColumnGrid{axis, task.width()},
          scores = axis == Axis::kElements ? element_scores(task) : matrix_scores(task, axis)](
             const Block& block, ops::Out out) {
    ops::add_scored_changes(out, block.base, block.models, scores, grid, block.begin);
  };
}

}  // namespace

extern const Method merge_method_widen;
const Method merge_method_widen{.name = "widen",
                                .title = "WIDEN: by how far magnitude and direction moved",
                                .paper = "arXiv:2408.03092",
                                .base = BaseUse::kRequired,
                                .parameters = kParameters,
                                .prepare = prepare};

}  // namespace lancet
