// SCE: select, calculate, erase. Wan et al. 2024 (FuseChat), arXiv:2408.07990.
//   d_i = x_i - b
//   select:    keep the positions of the largest variance of d across models, select_topk of those
//   where it is not 0 calculate: w_i = mean(d_i^2) / sum_j mean(d_j^2)                       [whole
//   tensor] erase:     M_i = 1 where sgn(d_i) = sgn(sum_j d_j)                     (a sum of 0
//   elects +) x = b + sum_i w_i d_i M_i / max(sum_i w_i M_i, 1e-6)
// mergekit takes uniform w where sum_j mean(d_j^2) < 1e-6, which holds for most tensors of
// fine-tuned language models. Only its semantics does so: here w is uniform where all d are 0.
// Precision: float64; positions are ranked by variances rounded to float32, of two models by
// |x_1 - x_2|, which orders them alike; the lower index first.
#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

#include "merge/kept_marks.h"
#include "merge/ops/keys.h"
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

/// What positions are ranked by.
void variance_keys(const MergeTask& task, const Block& block, std::span<std::uint32_t> keys) {
  if (task.models() == 2) return task.difference_keys(block, 0, 1, keys);
  ops::variance(block.scratch[3], block.models);
  ops::magnitude_keys(keys, block.scratch[3]);
}

/// A scratch buffer as a bit for each of its values.
std::span<std::uint8_t> bytes_of(ops::Out scratch) {
  return {reinterpret_cast<std::uint8_t*>(scratch.data()), (scratch.size() + 7) / 8};
}

/// Zeroes the positions that are not selected, in all models.
class Selection {
 public:
  explicit Selection(const MergeTask& task) : task_(&task) {
    const double share = task.number("select_topk");
    if (share >= 1) return;
    const ops::Series series{
        .keys = [&](const Block& block, std::size_t,
                    std::span<std::uint32_t> keys) { variance_keys(task, block, keys); },
        .by_values = task.models() != 2};
    filter_ = ops::BandFilter::find(task, series, {{.of_nonzero = share}})[0];
    marks_ = std::make_shared<KeptMarks>(task, 1);
  }

  /// Once for every block: finds what is selected.
  void select(const Block& block) const {
    if (!filter_) return;
    const auto bits = marks_->fits() ? marks_->of(block, 0) : bytes_of(block.scratch[2]);
    variance_keys(*task_, block, block.keys);
    filter_->mark(block, block.keys, bits);
    for (const ops::Out& model : block.models) ops::keep_marked(model, bits);
  }
  /// The same of a block that select() has seen.
  void select_again(const Block& block) const {
    if (!filter_ || !marks_->fits()) return select(block);
    for (const ops::Out& model : block.models) marks_->keep(block, 0, model);
  }

 private:
  const MergeTask* task_;
  std::optional<ops::BandFilter> filter_;  ///< none: everything is selected
  std::shared_ptr<KeptMarks> marks_;
};

std::vector<double> weights_of(const MergeTask& task, const Selection& selection) {
  const std::size_t n = task.models();
  std::vector<double> weights = task.sum(n, [&](const Block& block, std::span<double> sums) {
    selection.select(block);
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
  const Selection selection(task);
  return [selection, weights = weights_of(task, selection)](const Block& block, ops::Out out) {
    selection.select_again(block);
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
