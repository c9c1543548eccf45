// SCE: select, calculate, erase. Wan et al. 2024 (FuseChat), arXiv:2408.07990.
//   d_i = x_i - b
//   select:    keep the positions of the largest variance of d across models, select_topk of those
//   where it is not 0 calculate: w_i = mean(d_i^2) / sum_j mean(d_j^2)                       [whole
//   tensor] erase:     M_i = 1 where sgn(d_i) = sgn(sum_j d_j)                     (a sum of 0
//   elects +) x = b + sum_i w_i d_i M_i / max(sum_i w_i M_i, 1e-6)
// mergekit takes uniform w where sum_j mean(d_j^2) < 1e-6, which holds for most tensors of
// fine-tuned language models. Only its semantics does so: here w is uniform where all d are 0.
// Precision: float64; positions are ranked by variances rounded to float32, the lower index first.
#include <algorithm>
#include <cmath>

#include "merge/ops/select.h"
#include "merge/task_vectors.h"

namespace lancet {
namespace {

constexpr MergeParameter kParameters[] = {
    {.name = "select_topk",
     .fallback = 1,
     .minimum = 0,
     .maximum = 1,
     .help = "share of the positions that is kept"},
    int8_mask_parameter(),
};

constexpr double kSmallestDivisor = 1e-6;
constexpr double kMergekitSmallest = 1e-6;

/// Variance across models, into scratch[3].
ops::In variance(const Block& block) {
  ops::variance(block.scratch[3], block.models);
  return block.scratch[3];
}

/// Zeroes the positions that are not selected, in all models.
using Select = std::function<void(const Block&)>;

Select selection(const MergeTask& task) {
  const double share = task.number("select_topk");
  if (share >= 1) return [](const Block&) {};
  const auto counts = task.scan<std::uint64_t>([] { return std::uint64_t{0}; },
                                               [](const Block& block, std::uint64_t& count) {
                                                 ops::magnitude_keys(block.keys, variance(block));
                                                 count += ops::count_above(block.keys, 0);
                                               });
  std::uint64_t nonzero = 0;
  for (const std::uint64_t count : counts) nonzero += count;
  const auto keep = static_cast<std::uint64_t>(share * static_cast<double>(nonzero));
  const ops::Series series = [](const Block& block, std::size_t) { return variance(block); };
  return [filter = ops::BandFilter::find(task, series, {{0, keep}})[0]](const Block& block) {
    const ops::In ranked = variance(block);
    for (const ops::Out& model : block.models) filter.apply(block, ranked, model);
  };
}

std::vector<double> weights_of(const MergeTask& task, const Select& select) {
  const std::size_t n = task.models();
  std::vector<double> weights = task.sum(n, [&](const Block& block, std::span<double> sums) {
    select(block);
    for (std::size_t i = 0; i < n; ++i) sums[i] += ops::dot(block.models[i], block.models[i]);
  });
  double total = 0;
  for (double& w : weights)
    total += w /= static_cast<double>(std::max<std::uint64_t>(1, task.elements()));
  const double smallest = task.semantics() == Semantics::kMergekit ? kMergekitSmallest : 0;
  for (double& w : weights) w = total > smallest ? w / total : 1 / static_cast<double>(n);
  return weights;
}

Emit prepare(const MergeTask& task) {
  const Select select = selection(task);
  return [select, weights = weights_of(task, select)](const Block& block, ops::Out out) {
    select(block);
    std::vector<ops::Vote> votes;
    for (std::size_t i = 0; i < weights.size(); ++i)
      votes.push_back({.delta = block.models[i].data(), .weight = weights[i]});
    ops::elect(out, block.base, votes,
               {.by_values = true, .divide = true, .smallest = kSmallestDivisor});
  };
}

}  // namespace

extern const Method merge_method_sce;
const Method merge_method_sce{
    .name = "sce",
    .title = "SCE: select by variance, weigh by energy, erase the minority sign",
    .paper = "arXiv:2408.07990",
    .base = BaseUse::kRequired,
    .parameters = kParameters,
    .view = Method::View::kDeltas,
    .laws = {.scales = true},
    .prepare = prepare};

}  // namespace lancet
