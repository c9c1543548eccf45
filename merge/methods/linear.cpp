// Linear: a weighted mean ("model soup"). Wortsman et al. 2022, arXiv:2203.05482.
//   x = sum_i w_i x_i / sum_i w_i        [any shape]; without `normalize` x = sum_i w_i x_i
// Precision: float64, one rounding at the end. With `normalize` the weights are divided first, so
// that equal inputs give exactly that input.
#include <cmath>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
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

Emit prepare(const MergeTask& task) {
  std::vector<double> weights = task.numbers("weight");
  double sum = 0;
  for (const double weight : weights) sum += weight;
  if (task.flag("normalize")) {
    if (!(std::fabs(sum) > kSmallestSum)) {
      fail(ErrorKind::kUsage, "merge",
           fmt::format("tensor '{}': expected weights with a sum to divide by, found {}",
                       printable(task.name()), sum),
           "set normalize: false to subtract models from one another");
    }
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
                                 .prepare = prepare};

}  // namespace lancet
