// Consensus merging by TALL masks. Wang et al. 2024, arXiv:2405.07813.
//   d_i = w_i (x_i - b),  t = sum_i d_i                                    [any shape]
//   M_i = |d_i| >= mask_lambda_i |t - d_i|     the elements that carry task i in the sum
//   c   = sum_i M_i
//   x   = b + lambda t where c >= k, else b    k = 2: neither selfish nor catastrophic weights
// Precision: float64.
#include "merge/ops/elements.h"
#include "merge/task_vectors.h"

namespace lancet {
namespace {

constexpr MergeParameter kParameters[] = {
    factor_parameter(),
    {.name = "mask_lambda",
     .fallback = 0.4,
     .minimum = 0,
     .maximum = 1e6,
     .per_model = true,
     .help = "how far a task's own delta must stand out of the others'; larger keeps less"},
    {.name = "k",
     .kind = MergeParameter::Kind::kInteger,
     .fallback = 2,
     .minimum = 0,
     .maximum = 1e6,
     .help = "an element is kept where at least so many tasks use it"},
    lambda_parameter(),
};

Emit prepare(const MergeTask& task) {
  return [weights = task.numbers("weight"), bounds = task.numbers("mask_lambda"),
          least = static_cast<int>(task.number("k")),
          lambda = task.number("lambda")](const Block& block, ops::Out out) {
    ops::fill(out, 0);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      ops::scale(block.models[i], weights[i]);
      ops::add(out, block.models[i]);
    }
    ops::keep_used(out, block.models, bounds, least, lambda);
    ops::add(out, block.base);
  };
}

}  // namespace

extern const Method merge_method_consensus;
const Method merge_method_consensus{.name = "consensus",
                                    .title = "Keeps what several tasks use (TALL masks)",
                                    .paper = "arXiv:2405.07813",
                                    .base = BaseUse::kRequired,
                                    .parameters = kParameters,
                                    .view = Method::View::kDeltas,
                                    .prepare = prepare};

}  // namespace lancet
