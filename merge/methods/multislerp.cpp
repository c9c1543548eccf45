// Multi-SLERP: the weighted mean direction of several models, with their weighted mean length.
// Goddard 2025 (mergekit).
//   u_i = x_i / (|x_i| + eps),   m = sum_i w_i u_i / |sum_i w_i u_i|             [whole tensor]
//   x   = m * sum_i w_i |x_i|
// The published formula then moves along the tangent tau = sum_i w_i (u_i - <u_i, m> m). That sum
// is zero: it is |sum w u| m minus its own projection on m. Nothing is left to compute. With a base
// the same is done to x_i - b, and b is added. Where the u_i cancel (|sum w u| < eps), two models
// are interpolated along the line, more are refused. Precision: norms, dots and sums in float64.
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "merge/ops/gram.h"

namespace lancet {
namespace {

constexpr MergeParameter kParameters[] = {
    {.name = "weight",
     .fallback = kMustBeGiven,
     .minimum = -1e6,
     .maximum = 1e6,
     .per_model = true,
     .help = "share of the model"},
    {.name = "normalize_weights",
     .kind = MergeParameter::Kind::kFlag,
     .fallback = 1,
     .minimum = 0,
     .maximum = 1,
     .help = "divide the weights by their sum"},
    {.name = "eps",
     .fallback = 1e-8,
     .minimum = 0,
     .maximum = 1,
     .help = "smallest length that has a direction"},
};

double sum_of(const std::vector<double>& weights) {
  return std::accumulate(weights.begin(), weights.end(), 0.0);
}

std::optional<ParameterFault> fault(const MergeTask& task) {
  if (!task.flag("normalize_weights") || sum_of(task.numbers("weight")) != 0) return std::nullopt;
  return ParameterFault{.parameter = "weight",
                        .model = {},
                        .message = "expected weights with a sum to divide by, found 0",
                        .hint = "set normalize_weights: false, or change the weights"};
}

std::vector<double> weights_of(const MergeTask& task) {
  task.check_parameters();
  std::vector<double> weights = task.numbers("weight");
  if (!task.flag("normalize_weights")) return weights;
  const double sum = sum_of(weights);
  for (double& w : weights) w /= sum;
  return weights;
}

std::vector<double> coefficients_of(const MergeTask& task) {
  std::vector<double> weights = weights_of(task);
  const double eps = task.number("eps");
  const ops::Gram gram = ops::gram_of(task);
  std::vector<double> direction;  // of sum w_i u_i
  double length = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double norm = gram.norm(i);
    direction.push_back(norm + eps > 0 ? weights[i] / (norm + eps) : 0);
    length += weights[i] * norm;
  }
  const double norm = std::sqrt(std::max(0.0, gram.dot(direction, direction)));
  if (norm >= eps && norm > 0) {
    for (double& c : direction) c *= length / norm;
    return direction;
  }
  if (length == 0 || weights.size() == 2) return weights;
  fail(ErrorKind::kNumeric, "merge",
       fmt::format(
           "tensor '{}': expected models with a mean direction, found directions that cancel",
           printable(task.name())),
       "change the weights, or merge linearly");
}

Emit prepare(const MergeTask& task) {
  return [coefficients = coefficients_of(task)](const Block& block, ops::Out out) {
    ops::weigh(out, block.models, coefficients, 1, block.base);
  };
}

}  // namespace

extern const Method merge_method_multislerp;
const Method merge_method_multislerp{.name = "multislerp",
                                     .title = "Mean direction and mean length of several models",
                                     .paper = "mergekit",
                                     .base = BaseUse::kOptional,
                                     .min_models = 2,
                                     .parameters = kParameters,
                                     .view = Method::View::kDeltas,
                                     .laws = {.zero_is_absent = true},
                                     .fault = fault,
                                     .prepare = prepare};

}  // namespace lancet
