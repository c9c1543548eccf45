// Model Breadcrumbs with the sign consensus of TIES. Davari and Belilovsky 2023, arXiv:2312.06795.
//   d_i = x_i - b without its `gamma` largest and all but `density` of the rest       [any shape]
//   x = b + lambda * sum_i w_i d_i over the models that agree with the elected sign
// Formulas and precision: merge/task_vectors.h.
// Where gamma and density do not fit into the tensor together, fewer of the largest are dropped.
#include "merge/task_vectors.h"

namespace lancet {
namespace {

constexpr MergeParameter kParameters[] = {
    weight_parameter(),         density_parameter(),      gamma_parameter(),
    normalize_parameter(false), rescale_parameter(false), lambda_parameter(),
    int8_mask_parameter(),
};

Emit prepare(const MergeTask& task) {
  return merge_task_vectors(
      task,
      {.consensus = true, .sparsify = keep_middle(task), .measure_rescale = task.flag("rescale")});
}

}  // namespace

extern const Method merge_method_breadcrumbs_ties;
const Method merge_method_breadcrumbs_ties{
    .name = "breadcrumbs_ties",
    .title = "Breadcrumbs: drop the largest and the smallest changes, then sign consensus",
    .paper = "arXiv:2312.06795",
    .base = BaseUse::kRequired,
    .parameters = kParameters,
    .view = Method::View::kDeltas,
    .laws = {.zero_is_absent = true, .scales = true},
    .prepare = prepare};

}  // namespace lancet
