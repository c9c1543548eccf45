// TIES-Merging. Yadav et al. 2023, arXiv:2306.01708.
//   d_i = trim(x_i - b, density)       keep the largest |d| of the tensor      [any shape]
//   s   = sgn(sum_i w_i d_i)           elected sign
//   x   = b + lambda * sum_i w_i d_i [sgn(w_i d_i) = s] / sum_i w_i [...]      / only with
//   `normalize`
// Differs from the paper, as mergekit does: signs are elected by the weighted deltas. Paper
// semantics elects by the deltas themselves. Elements of equal magnitude at the threshold: the
// lower index is kept. Formulas and precision: merge/task_vectors.h.
#include "merge/task_vectors.h"

namespace lancet {
namespace {

constexpr MergeParameter kParameters[] = {weight_parameter(),        density_parameter(),
                                          normalize_parameter(true), rescale_parameter(false),
                                          lambda_parameter(),        int8_mask_parameter()};

Emit prepare(const MergeTask& task) {
  return merge_task_vectors(
      task,
      {.consensus = true, .sparsify = keep_largest(task), .measure_rescale = task.flag("rescale")});
}

}  // namespace

extern const Method merge_method_ties;
const Method merge_method_ties{.name = "ties",
                               .title = "TIES: trim, elect sign, merge what agrees",
                               .paper = "arXiv:2306.01708",
                               .base = BaseUse::kRequired,
                               .parameters = kParameters,
                               .view = Method::View::kDeltas,
                               .laws = {.identity = true, .zero_is_absent = true, .scales = true},
                               .prepare = prepare};

}  // namespace lancet
