// SLERP: interpolation along the arc between two tensors, each taken as one long vector. Shoemake
// 1985 (10.1145/325334.325242), applied to weights by the community.
//   c = <x_0, x_1> / (|x_0| |x_1|),  theta = acos c                 [whole tensor]
//   x = sin((1-t) theta)/sin(theta) x_0 + sin(t theta)/sin(theta) x_1
// applied to the vectors as they are, not normalised. Where |c| > 0.9995, or a norm is below 1e-8:
//   x = (1-t) x_0 + t x_1
// Fine-tunes of one base nearly always have c > 0.9995, so that SLERP of them is a linear mean.
// Precision: norms, dot and sum in float64.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/log.h"
#include "core/text.h"
#include "merge/ops/gram.h"

namespace lancet {
namespace {

constexpr MergeParameter kParameters[] = {
    {.name = "t",
     .fallback = kMustBeGiven,
     .minimum = 0,
     .maximum = 1,
     .help = "0 gives the base, 1 the other model"},
};

constexpr double kParallel = 0.9995;
constexpr double kSmallestNorm = 1e-8;

Emit prepare(const MergeTask& task) {
  const double t = task.number("t");
  const ops::Gram gram = ops::gram_of(task, true);
  double from = 1 - t, to = t;
  const double norms = gram.norm(0) * gram.norm(1);
  if (gram.norm(0) > kSmallestNorm && gram.norm(1) > kSmallestNorm) {
    const double c = std::clamp(gram.at(0, 1) / norms, -1.0, 1.0);
    if (c < -kParallel) {
      log::warn(
          fmt::format("tensor '{}': the models point in opposite directions (cosine {:.4f}); "
                      "slerp goes along the straight line between them, near zero",
                      printable(task.name()), c));
    }
    if (std::fabs(c) <= kParallel) {
      const double theta = std::acos(c);
      from = std::sin((1 - t) * theta) / std::sin(theta);
      to = std::sin(t * theta) / std::sin(theta);
    }
  }
  return [from, to](const Block& block, ops::Out out) {
    ops::weigh(out, block.models, std::span(&to, 1));
    ops::add_scaled(out, block.base, from);
  };
}

}  // namespace

extern const Method merge_method_slerp;
const Method merge_method_slerp{.name = "slerp",
                                .title = "Spherical interpolation between two models",
                                .paper = "10.1145/325334.325242",
                                .base = BaseUse::kRequired,
                                .max_models = 1,
                                .parameters = kParameters,
                                .laws = {.order_free = false, .scales = true},
                                .prepare = prepare};

}  // namespace lancet
