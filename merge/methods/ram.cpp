// RAM: reinforced agent merging. arXiv:2601.13572.
//   d_i = x_i - b,  M_i = |d_i| > epsilon,  c = sum_i M_i                 [any shape]
//   x = b + sum_i d_i M_i / max(c, 1): unique changes stay whole, shared ones are averaged
// Precision: float64.
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
};

Emit prepare(const MergeTask& task) {
  return [epsilon = task.number("epsilon")](const Block& block, ops::Out out) {
    ops::add_mean_change(out, block.base, block.models, epsilon);
  };
}

}  // namespace

extern const Method merge_method_ram;
const Method merge_method_ram{.name = "ram",
                              .title = "RAM: unique changes whole, shared ones averaged",
                              .paper = "arXiv:2601.13572",
                              .base = BaseUse::kRequired,
                              .parameters = kParameters,
                              .view = Method::View::kDeltas,
                              .one_pass = true,
                              .prepare = prepare};

}  // namespace lancet
