// MagMax: the delta of largest magnitude. Marczak et al. 2024, arXiv:2407.06322.
//   d_i = w_i (x_i - b)                                                     [any shape]
//   x   = b + lambda d_j,  j = argmax_i |d_i|, for each element
// Of opposite deltas of equal magnitude the positive one is taken, so that the order of the models
// does not matter (the paper leaves it open). Precision: float64.
#include "merge/ops/elements.h"
#include "merge/task_vectors.h"

namespace lancet {
namespace {

constexpr MergeParameter kParameters[] = {factor_parameter(), lambda_parameter()};

Emit prepare(const MergeTask& task) {
  return [weights = task.numbers("weight"), lambda = task.number("lambda")](const Block& block,
                                                                            ops::Out out) {
    ops::fill(out, 0);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      ops::scale(block.models[i], weights[i]);
      ops::keep_larger(out, block.models[i]);
    }
    ops::scale(out, lambda);
    ops::add(out, block.base);
  };
}

}  // namespace

extern const Method merge_method_magmax;
const Method merge_method_magmax{.name = "magmax",
                                 .title = "The largest change of each element",
                                 .paper = "arXiv:2407.06322",
                                 .base = BaseUse::kRequired,
                                 .parameters = kParameters,
                                 .view = Method::View::kDeltas,
                                 .laws = {.zero_is_absent = true},
                                 .prepare = prepare};

}  // namespace lancet
