// DARE: drop and rescale with the sign consensus of TIES. Yu et al. 2023, arXiv:2311.03099.
//   d_i = x_i - b, each element kept with probability `density`                [any shape]
//   x = b + lambda * sum_i w_i rescale_i d_i over the models that agree with the elected sign
// Formulas and precision: merge/task_vectors.h.
// Differs from the paper, as mergekit does: rescale_i = |d_i|_1 / |kept|_1 of the tensor. Paper
// semantics: 1 / density.
#include "merge/task_vectors.h"

namespace lancet {
namespace {

constexpr MergeParameter kParameters[] = {
    weight_parameter(),      density_parameter(), normalize_parameter(false),
    rescale_parameter(true), lambda_parameter(),  int8_mask_parameter(),
};

Emit prepare(const MergeTask& task) { return merge_by_chance(task, true, keep_random); }

}  // namespace

extern const Method merge_method_dare_ties;
const Method merge_method_dare_ties{
    .name = "dare_ties",
    .title = "DARE: random drop and rescale, then sign consensus",
    .paper = "arXiv:2311.03099",
    .base = BaseUse::kRequired,
    .parameters = kParameters,
    .view = Method::View::kDeltas,
    .laws = {.zero_is_absent = true, .random = true, .scales = true},
    .prepare = prepare};

}  // namespace lancet
