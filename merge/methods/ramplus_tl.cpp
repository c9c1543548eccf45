// RAM+ on tensor level: RAM with unique changes scaled up by how much of a model's change is
// shared. arXiv:2601.13572.
//   d_i = x_i - b,  M_i = |d_i| > epsilon,  c = sum_i M_i                 [any shape]
//   f_i = 1 + r clamp(shared_i / max(unique_i, epsilon), 0, alpha)        counts of positions with
//   c > 1 and c = 1 x = b + f_i d_i where c = 1,  b + sum_i d_i M_i / c where c > 1
// Precision: float64.
#include <algorithm>
#include <cmath>

#include "merge/task.h"

namespace lancet {
namespace {

constexpr MergeParameter kParameters[] = {
    {.name = "epsilon",
     .fallback = 1e-5,
     .minimum = 0,
     .maximum = 1e6,
     .help = "a change up to this counts as none"},
    {.name = "r", .fallback = 0.1, .minimum = 0, .maximum = 1e3, .help = "strength of the scaling"},
    {.name = "alpha",
     .fallback = 0.2,
     .minimum = 0,
     .maximum = 1e3,
     .help = "largest ratio of shared to unique that counts"},
};

/// Models that change element i.
int changed_by(const Block& block, std::size_t i, double epsilon) {
  int count = 0;
  for (const ops::Out& model : block.models) count += std::fabs(model[i]) > epsilon ? 1 : 0;
  return count;
}

std::vector<double> factors_of(const MergeTask& task) {
  const std::size_t n = task.models();
  const double epsilon = task.number("epsilon");
  // Counts are exact in float64: [2k] unique, [2k + 1] shared.
  const std::vector<double> counts =
      task.sum(2 * n, [=](const Block& block, std::span<double> sums) {
        for (std::size_t i = 0; i < block.size; ++i) {
          const int count = changed_by(block, i, epsilon);
          for (std::size_t k = 0; k < n; ++k) {
            if (std::fabs(block.models[k][i]) > epsilon) sums[2 * k + (count > 1 ? 1 : 0)] += 1;
          }
        }
      });
  std::vector<double> factors;
  for (std::size_t k = 0; k < n; ++k) {
    const double ratio = counts[2 * k + 1] / std::max(counts[2 * k], std::max(epsilon, 1e-300));
    factors.push_back(1 + task.number("r") * std::clamp(ratio, 0.0, task.number("alpha")));
  }
  return factors;
}

Emit prepare(const MergeTask& task) {
  return [factors = factors_of(task), epsilon = task.number("epsilon")](const Block& block,
                                                                        ops::Out out) {
    for (std::size_t i = 0; i < block.size; ++i) {
      const int count = changed_by(block, i, epsilon);
      double sum = 0;
      for (std::size_t k = 0; k < factors.size(); ++k) {
        const double delta = block.models[k][i];
        if (std::fabs(delta) > epsilon) sum += count == 1 ? factors[k] * delta : delta / count;
      }
      out[i] = block.base[i] + sum;
    }
  };
}

}  // namespace

extern const Method merge_method_ramplus_tl;
const Method merge_method_ramplus_tl{
    .name = "ramplus_tl",
    .title = "RAM+ on tensor level: unique changes scaled by what is shared",
    .paper = "arXiv:2601.13572",
    .base = BaseUse::kRequired,
    .parameters = kParameters,
    .view = Method::View::kDeltas,
    .prepare = prepare};

}  // namespace lancet
