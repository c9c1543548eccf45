// DELLA: drop by rank and rescale. Deep et al. 2024, arXiv:2406.11617.
//   d_i = x_i - b, an element kept with probability density - epsilon + 2 epsilon r, r in [0, 1]
//   the
//                   rank of |d| in its row (the last dimension)
//   x = b + lambda * sum_i w_i rescale_i d_i
// Formulas and precision: merge/task_vectors.h.
// Differs from the paper, as mergekit does: rescale_i = |d_i|_1 / |kept|_1 of the tensor. Paper
// semantics: each kept element by 1 / its probability.
#include "merge/task_vectors.h"

namespace lancet {
namespace {

constexpr MergeParameter kParameters[] = {
    weight_parameter(),      density_parameter(), epsilon_parameter(),   normalize_parameter(false),
    rescale_parameter(true), lambda_parameter(),  int8_mask_parameter(),
};

Emit prepare(const MergeTask& task) { return merge_by_chance(task, false, keep_ranked); }

}  // namespace

extern const Method merge_method_della_linear;
const Method merge_method_della_linear{
    .name = "della_linear",
    .title = "DELLA: drop by rank and rescale",
    .paper = "arXiv:2406.11617",
    .base = BaseUse::kRequired,
    .parameters = kParameters,
    .unit = Method::Unit::kRows,
    .view = Method::View::kDeltas,
    .laws = {.zero_is_absent = true, .random = true, .scales = true},
    .fault = ranked_fault,
    .prepare = prepare};

}  // namespace lancet
