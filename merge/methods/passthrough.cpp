// Passthrough: one tensor as it is, or scaled. For stacks of layers ("frankenmerges") and layer
// deletion.
//   x = scale * x_1        [any shape]
#include "merge/task.h"

namespace lancet {
namespace {

constexpr MergeParameter kParameters[] = {
    {.name = "scale",
     .fallback = 1,
     .minimum = -1e6,
     .maximum = 1e6,
     .per_model = true,
     .help = "factor of the tensor"},
};

Emit prepare(const MergeTask& task) {
  return [scale = task.number("scale", 0)](const Block& block, ops::Out out) {
    ops::copy(out, block.models[0]);
    if (scale != 1) ops::scale(out, scale);
  };
}

}  // namespace

extern const Method merge_method_passthrough;
const Method merge_method_passthrough{.name = "passthrough",
                                      .title = "One tensor as it is, for stacking layers",
                                      .paper = "mergekit",
                                      .base = BaseUse::kNone,
                                      .max_models = 1,
                                      .parameters = kParameters,
                                      .one_pass = true,
                                      .laws = {.scales = true},
                                      .prepare = prepare};

}  // namespace lancet
