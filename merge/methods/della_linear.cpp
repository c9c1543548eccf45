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
    weight_parameter(),
    density_parameter(),
    {.name = "epsilon",
     .fallback = 0.15,
     .minimum = 0,
     .maximum = 1,
     .per_model = true,
     .help = "half the spread of the keep probabilities"},
    normalize_parameter(false),
    rescale_parameter(true),
    lambda_parameter(),
    int8_mask_parameter(),
};

Emit prepare(const MergeTask& task) {
  const bool unbiased = task.semantics() == Semantics::kPaper && task.flag("rescale");
  return merge_task_vectors(task, {.consensus = false,
                                   .sparsify = keep_ranked(task, unbiased),
                                   .measure_rescale = task.flag("rescale") && !unbiased});
}

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
    .prepare = prepare};

}  // namespace lancet
