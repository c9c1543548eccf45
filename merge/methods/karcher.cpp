// Karcher mean: the point on the sphere with the least sum of squared arcs to the models.
// arXiv:2603.04972.
//   u_i = x_i / |x_i|,  u = sum u_i normalised                                    [whole tensor]
//   repeat up to max_iter times:  theta_i = acos <u_i, u>
//     T = 1/N sum_{theta_i >= tol} theta_i / sin(theta_i) (u_i - cos(theta_i) u);  stop when |T| <
//     tol u = cos|T| u + sin|T| T/|T|
//   x = u * mean_i |x_i|
// u stays a linear combination of the x_i, so that all steps are done on its coefficients and the
// Gram matrix: the tensors are read twice, whatever the number of steps. Precision: float64. A
// tensor of zeros has no direction and counts in the mean length only.
#include <algorithm>
#include <cmath>

#include "merge/ops/gram.h"

namespace lancet {
namespace {

constexpr MergeParameter kParameters[] = {
    {.name = "max_iter",
     .kind = MergeParameter::Kind::kInteger,
     .fallback = 10,
     .minimum = 1,
     .maximum = 10000,
     .help = "most steps"},
    {.name = "tol",
     .fallback = 1e-5,
     .minimum = 0,
     .maximum = 1,
     .help = "a step shorter than this is the last"},
};

using Coefficients = std::vector<double>;

double norm_of(const ops::Gram& gram, const Coefficients& c) {
  return std::sqrt(std::max(0.0, gram.dot(c, c)));
}

/// One step along the mean of the logarithms at u; returns its length.
double step(const ops::Gram& gram, const std::vector<Coefficients>& units, double tolerance,
            Coefficients& u) {
  Coefficients tangent(u.size());
  for (const Coefficients& unit : units) {
    const double cosine = std::clamp(gram.dot(unit, u), -1.0, 1.0);
    const double theta = std::acos(cosine);
    const double sine = std::sin(theta);
    if (theta < tolerance || sine == 0) continue;
    const double factor = theta / sine / static_cast<double>(units.size());
    for (std::size_t k = 0; k < u.size(); ++k) tangent[k] += factor * (unit[k] - cosine * u[k]);
  }
  const double length = norm_of(gram, tangent);
  if (length < tolerance || length == 0) return length;
  for (std::size_t k = 0; k < u.size(); ++k)
    u[k] = std::cos(length) * u[k] + std::sin(length) * tangent[k] / length;
  return length;
}

Coefficients mean_of(const MergeTask& task) {
  const ops::Gram gram = ops::gram_of(task);
  const std::size_t n = gram.size();
  const double tolerance = task.number("tol");
  std::vector<Coefficients> units;
  Coefficients u(n);
  double length = 0;
  for (std::size_t i = 0; i < n; ++i) {
    length += gram.norm(i) / static_cast<double>(n);
    if (gram.at(i, i) == 0) continue;
    units.emplace_back(n);
    units.back()[i] = 1 / gram.norm(i);
    u[i] = units.back()[i];
  }
  if (units.empty()) return u;
  const double norm = norm_of(gram, u);
  if (norm < tolerance || norm == 0) {
    u = units.front();  // opposite directions: every great circle is as good
  } else {
    for (double& c : u) c /= norm;
  }
  for (int i = 0; i < static_cast<int>(task.number("max_iter")); ++i) {
    const double moved = step(gram, units, tolerance, u);
    if (moved < tolerance || moved == 0) break;
  }
  for (double& c : u) c *= length;
  return u;
}

Emit prepare(const MergeTask& task) {
  return [coefficients = mean_of(task)](const Block& block, ops::Out out) {
    ops::weigh(out, block.models, coefficients);
  };
}

}  // namespace

extern const Method merge_method_karcher;
const Method merge_method_karcher{.name = "karcher",
                                  .title = "Riemannian mean on the sphere",
                                  .paper = "arXiv:2603.04972",
                                  .base = BaseUse::kNone,
                                  .min_models = 2,
                                  .parameters = kParameters,
                                  .laws = {.scales = true},
                                  .prepare = prepare};

}  // namespace lancet
