// EMR-Merging: elect, mask, rescale; the unified vector. Huang et al. 2024, arXiv:2405.17461.
//   d_i = w_i (x_i - b)                                                     [any shape]
//   s   = sgn(sum_i d_i)                                                    0 where they cancel
//   e   = max_i |d_i| over the models with sgn(d_i) = s                     0 where s = 0
//   x   = b + lambda s e
// The paper's result is one vector and, for each task, a mask and a rescaler that are applied while
// the model runs: M_i = (d_i s > 0), r_i = sum |d_i| / sum |M_i s e|. One model has no place for
// them: what is written is b + s e, the part that all tasks share. Precision: float64.
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
      ops::add(out, block.models[i]);
    }
    ops::largest_agreeing(out, block.models, lambda);
    ops::add(out, block.base);
  };
}

}  // namespace

extern const Method merge_method_emr;
const Method merge_method_emr{.name = "emr",
                              .title = "EMR's unified vector: elected sign, largest agreeing delta",
                              .paper = "arXiv:2405.17461",
                              .base = BaseUse::kRequired,
                              .parameters = kParameters,
                              .view = Method::View::kDeltas,
                              .laws = {.zero_is_absent = true},
                              .prepare = prepare};

}  // namespace lancet
