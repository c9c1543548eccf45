// Linear: a weighted mean ("model soup"). Wortsman et al. 2022, arXiv:2203.05482.
//   x = sum_i w_i x_i / sum_i w_i        [any shape]; without `normalize` x = sum_i w_i x_i
// Precision: float64, one rounding at the end. With `normalize` the weights are divided first, so
// that equal inputs give exactly that input.
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "merge/task_vectors.h"

namespace lancet {
namespace {

constexpr MergeParameter kParameters[] = {
    {.name = "weight",
     .fallback = kMustBeGiven,
     .minimum = -1e6,
     .maximum = 1e6,
     .per_model = true,
     .help = "factor of the model"},
    normalize_parameter(true),
};

constexpr double kSmallestSum = 1e-12;  ///< of weights that are divided by

double sum_of(const std::vector<double>& weights) {
  return std::accumulate(weights.begin(), weights.end(), 0.0);
}

std::optional<ParameterFault> fault(const MergeTask& task) {
  const double sum = sum_of(task.numbers("weight"));
  if (!task.flag("normalize") || std::fabs(sum) > kSmallestSum) return std::nullopt;
  return ParameterFault{
      .parameter = "weight",
      .model = {},
      .message = fmt::format("expected weights with a sum to divide by, found {}", sum),
      .hint = "set normalize: false to subtract models from one another"};
}

Emit prepare(const MergeTask& task) {
  task.check_parameters();
  std::vector<double> weights = task.numbers("weight");
  if (task.flag("normalize")) {
    const double sum = sum_of(weights);
    for (double& weight : weights) weight /= sum;
  }
  return [weights](const Block& block, ops::Out out) { ops::weigh(out, block.models, weights); };
}

}  // namespace

extern const Method merge_method_linear;
const Method merge_method_linear{.name = "linear",
                                 .title = "Weighted mean of models",
                                 .paper = "arXiv:2203.05482",
                                 .base = BaseUse::kNone,
                                 .parameters = kParameters,
                                 .one_pass = true,
                                 .laws = {.zero_is_absent = true, .scales = true},
                                 .fault = fault,
                                 .prepare = prepare};

}  // namespace lancet
