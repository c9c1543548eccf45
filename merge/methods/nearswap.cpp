// NearSwap: moves the base where the other model is near, by at most t. alchemonaut 2024
// (mergekit).
//   o = clamp(t / max(|a - b|, 1e-6), 0, 1),   x = o b + (1 - o) a       [any shape], a the base, b
//   the other
#include "merge/ops/elements.h"
#include "merge/task.h"

namespace lancet {
namespace {

constexpr MergeParameter kParameters[] = {
    {.name = "t",
     .fallback = kMustBeGiven,
     .minimum = 0,
     .maximum = 1e6,
     .help = "largest change of an element"},
};

constexpr double kSmallest = 1e-6;

Emit prepare(const MergeTask& task) {
  return [t = task.number("t")](const Block& block, ops::Out out) {
    ops::swap_near(out, block.base, block.models[0], t, kSmallest);
  };
}

}  // namespace

extern const Method merge_method_nearswap;
const Method merge_method_nearswap{
    .name = "nearswap",
    .title = "Take the other model where it is near, else a step of t",
    .paper = "mergekit",
    .base = BaseUse::kRequired,
    .max_models = 1,
    .parameters = kParameters,
    .one_pass = true,
    .laws = {.order_free = false},
    .prepare = prepare};

}  // namespace lancet
