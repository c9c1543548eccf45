// RAM+ on tensor level: RAM with unique changes scaled up by how much of a model's change is
// shared. arXiv:2601.13572.
//   d_i = x_i - b,  M_i = |d_i| > epsilon,  c = sum_i M_i                 [any shape]
//   f_i = 1 + r clamp(shared_i / max(unique_i, epsilon), 0, alpha)        counts of positions with
//   c > 1 and c = 1 x = b + f_i d_i where c = 1,  b + sum_i d_i M_i / c where c > 1
// Precision: float64.
#include <algorithm>

#include "merge/ops/elements.h"
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

std::vector<double> factors_of(const MergeTask& task) {
  const std::size_t n = task.models();
  const double epsilon = task.number("epsilon");
  // Counts are exact in float64: [2k] unique, [2k + 1] shared.
  const std::vector<double> counts =
      task.sum(2 * n, [=](const Block& block, std::span<double> sums) {
        ops::count_changes(sums, block.models, epsilon);
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
    ops::add_scaled_changes(out, block.base, block.models, factors, epsilon);
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
