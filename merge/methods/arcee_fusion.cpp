// Arcee Fusion: takes over the elements whose change matters most. Arcee AI 2025 (mergekit).
//   K   = sum_j p_j (log(p_j + eps) - log(q_j + eps)),  p = softmax(b row), q = softmax(a row)
//   [each last-dim row] I   = |b - a| K                                     a the base, b the other
//   model            [any shape] x   = b where I >= median(I) + 1.5 (Q3 - Q1), else a
// Quantiles are exact, on importances rounded to float32, linearly interpolated; mergekit draws
// 10^6 elements of a larger tensor at random instead. Precision: float64.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "merge/ops/elements.h"
#include "merge/ops/select.h"

namespace lancet {
namespace {

constexpr double kEpsilon = 1e-8;

/// Into scratch[0]; scratch[1] and [2] are used.
ops::In importance(const Block& block, std::uint64_t width) {
  const ops::Out out = block.scratch[0];
  for (std::size_t at = 0; at < block.size; at += width) {
    const ops::In a = block.base.subspan(at, width), b = block.models[0].subspan(at, width);
    const ops::Out p = block.scratch[1].first(width), q = block.scratch[2].first(width);
    ops::softmax(p, b);
    ops::softmax(q, a);
    ops::scaled_distance(out.subspan(at, width), b, a, ops::divergence(p, q, kEpsilon));
  }
  return out;
}

/// median + 1.5 (Q3 - Q1).
double threshold_of(const MergeTask& task) {
  const auto values = [width = task.width()](const Block& block) {
    return importance(block, width);
  };
  const double last = static_cast<double>(task.elements() - 1);
  constexpr std::array<double, 3> kQuantiles{0.25, 0.5, 0.75};
  std::vector<std::uint64_t> ranks;
  for (const double q : kQuantiles) {
    const auto below = static_cast<std::uint64_t>(q * last);
    ranks.push_back(below);
    ranks.push_back(std::min(below + 1, task.elements() - 1));
  }
  const std::vector<float> found = ops::magnitudes_at(task, values, ranks);
  std::array<double, 3> at{};
  for (std::size_t k = 0; k < at.size(); ++k) {
    const double share = kQuantiles[k] * last - std::floor(kQuantiles[k] * last);
    at[k] = (1 - share) * static_cast<double>(found[2 * k]) +
            share * static_cast<double>(found[2 * k + 1]);
  }
  return at[1] + 1.5 * (at[2] - at[0]);
}

Emit prepare(const MergeTask& task) {
  if (task.elements() == 0) return [](const Block&, ops::Out) {};
  return [threshold = threshold_of(task), width = task.width()](const Block& block, ops::Out out) {
    const ops::In important = importance(block, width);
    ops::choose_by(out, block.base, block.models[0], important, threshold);
  };
}

}  // namespace

extern const Method merge_method_arcee_fusion;
const Method merge_method_arcee_fusion{.name = "arcee_fusion",
                                       .title = "Take over the changes that matter most",
                                       .paper = "mergekit",
                                       .base = BaseUse::kRequired,
                                       .max_models = 1,
                                       .unit = Method::Unit::kRows,
                                       .laws = {.order_free = false},
                                       .prepare = prepare};

}  // namespace lancet
