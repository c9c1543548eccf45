// Task arithmetic. Ilharco et al. 2022, arXiv:2212.04089.
//   x = b + lambda * sum_i w_i (x_i - b)          [any shape]
// With `normalize` the sum is divided by sum_i w_i. Formulas and precision: merge/task_vectors.h.
#include "merge/task_vectors.h"

namespace lancet {
namespace {

constexpr MergeParameter kParameters[] = {weight_parameter(),         density_parameter(),
                                          normalize_parameter(false), rescale_parameter(false),
                                          lambda_parameter(),         int8_mask_parameter()};

Emit prepare(const MergeTask& task) { return merge_task_vectors(task, {}); }

}  // namespace

extern const Method merge_method_task_arithmetic;
const Method merge_method_task_arithmetic{.name = "task_arithmetic",
                                          .title = "Weighted sum of task vectors on a base",
                                          .paper = "arXiv:2212.04089",
                                          .base = BaseUse::kRequired,
                                          .parameters = kParameters,
                                          .view = Method::View::kDeltas,
                                          .one_pass = true,
                                          .laws = {.zero_is_absent = true, .scales = true},
                                          .prepare = prepare};

}  // namespace lancet
