// NuSLERP: SLERP of two models by weights, of whole tensors, rows or columns, optionally of task
// vectors. Goddard 2024 (mergekit).
//   t = w_2 / (w_1 + w_2)          1/2 where |w_1 + w_2| < 1e-6
//   c = <x_1, x_2> / (|x_1| |x_2|) over the whole tensor (nuslerp_flatten), over the last
//   dimension, or over
//                                  dimension 0 (nuslerp_row_wise); norms of at least 1e-7
//   x = sin((1-t) theta)/sin(theta) x_1 + sin(t theta)/sin(theta) x_2,   theta = acos c
//   x = (1-t) x_1 + t x_2          where |sin theta| < 1e-8
// With a base the same is done to x_i - b, and b is added.
// Precision: norms, dots and sums in float64.
#include <algorithm>
#include <array>
#include <cmath>

#include "merge/ops/columns.h"
#include "merge/ops/gram.h"

namespace lancet {
namespace {

constexpr MergeParameter kParameters[] = {
    {.name = "weight",
     .fallback = kMustBeGiven,
     .minimum = -1e6,
     .maximum = 1e6,
     .per_model = true,
     .help = "share of the model"},
    {.name = "nuslerp_flatten",
     .kind = MergeParameter::Kind::kFlag,
     .fallback = 1,
     .minimum = 0,
     .maximum = 1,
     .help = "take the tensor as one vector"},
    {.name = "nuslerp_row_wise",
     .kind = MergeParameter::Kind::kFlag,
     .fallback = 0,
     .minimum = 0,
     .maximum = 1,
     .help = "without nuslerp_flatten: vectors run along dimension 0 instead of the last one"},
};

constexpr double kSmallestWeight = 1e-6;
constexpr double kSmallestNorm = 1e-7;
constexpr double kSmallestSine = 1e-8;

/// Coefficients of x_1 and x_2 for vectors of squared norms aa and bb with inner product ab.
std::array<double, 2> arc(double aa, double bb, double ab, double t) {
  const double norms =
      std::max(std::sqrt(aa), kSmallestNorm) * std::max(std::sqrt(bb), kSmallestNorm);
  const double theta = std::acos(std::clamp(ab / norms, -1.0, 1.0));
  const double sine = std::sin(theta);
  if (std::fabs(sine) < kSmallestSine) return {1 - t, t};
  return {std::sin((1 - t) * theta) / sine, std::sin(t * theta) / sine};
}

void add_base(const Block& block, ops::Out out) {
  if (!block.base.empty()) ops::add(out, block.base);
}

Emit flat(const MergeTask& task, double t) {
  const ops::Gram gram = ops::gram_of(task);
  const auto k = arc(gram.at(0, 0), gram.at(1, 1), gram.at(0, 1), t);
  return [k](const Block& block, ops::Out out) { ops::weigh(out, block.models, k, 1, block.base); };
}

Emit along_last(const MergeTask& task, double t) {
  return [t, width = task.width()](const Block& block, ops::Out out) {
    for (std::size_t row = 0; row < block.size; row += width) {
      const std::array rows{block.models[0].subspan(row, width),
                            block.models[1].subspan(row, width)};
      const auto& [a, b] = rows;
      const auto k = arc(ops::dot(a, a), ops::dot(b, b), ops::dot(a, b), t);
      ops::weigh(out.subspan(row, width), rows, k);
    }
    add_base(block, out);
  };
}

Emit along_first(const MergeTask& task, double t) {
  const std::uint64_t rows =
      task.shape().empty() ? 1
                           : static_cast<std::uint64_t>(std::max<std::int64_t>(1, task.shape()[0]));
  const std::uint64_t columns = task.elements() / rows;
  const ops::ColumnGrid grid{ops::ColumnGrid::Axis::kColumns, columns};
  // For column j: sums [3j] = aa, [3j + 1] = bb, [3j + 2] = ab.
  std::vector<double> k = task.sum(3 * columns, [grid](const Block& block, std::span<double> sums) {
    ops::add_column_products(sums, block.models[0], block.models[1], grid, block.begin);
  });
  for (std::uint64_t j = 0; j < columns; ++j) {
    const auto pair = arc(k[3 * j], k[3 * j + 1], k[3 * j + 2], t);
    k[3 * j] = pair[0];
    k[3 * j + 1] = pair[1];
  }
  return [k = std::move(k), grid](const Block& block, ops::Out out) {
    ops::combine_columns(out, block.models[0], block.models[1], k, grid, block.begin);
    add_base(block, out);
  };
}

Emit prepare(const MergeTask& task) {
  const double w1 = task.number("weight", 0), w2 = task.number("weight", 1);
  const double t = std::fabs(w1 + w2) < kSmallestWeight ? 0.5 : w2 / (w1 + w2);
  const bool vector = task.shape().size() < 2;
  if (task.flag("nuslerp_flatten") || vector) return flat(task, t);
  return task.flag("nuslerp_row_wise") ? along_first(task, t) : along_last(task, t);
}

}  // namespace

extern const Method merge_method_nuslerp;
const Method merge_method_nuslerp{
    .name = "nuslerp",
    .title = "Spherical interpolation by weights, whole, by rows or of task vectors",
    .paper = "mergekit",
    .base = BaseUse::kOptional,
    .min_models = 2,
    .max_models = 2,
    .parameters = kParameters,
    .unit = Method::Unit::kRows,
    .view = Method::View::kDeltas,
    .laws = {.scales = true},
    .prepare = prepare};

}  // namespace lancet
