// RAM: reinforced agent merging. arXiv:2601.13572.
//   d_i = x_i - b,  M_i = |d_i| > epsilon,  c = sum_i M_i                 [any shape]
//   x = b + sum_i d_i M_i / max(c, 1): unique changes stay whole, shared ones are averaged
// Precision: float64.
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
};

Emit prepare(const MergeTask& task) {
  return [epsilon = task.number("epsilon")](const Block& block, ops::Out out) {
    for (std::size_t i = 0; i < block.size; ++i) {
      double sum = 0;
      int count = 0;
      for (const ops::Out& model : block.models) {
        if (!(std::fabs(model[i]) > epsilon)) continue;
        sum += model[i];
        ++count;
      }
      out[i] = block.base[i] + (count > 1 ? sum / count : sum);
    }
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
