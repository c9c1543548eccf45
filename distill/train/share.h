#pragma once
// What the ranks of a run tell each other.

#include <ATen/ATen.h>

#include "distill/train/checkpoint.h"
#include "distill/train/optimizer.h"
#include "distill/train/ranks.h"
#include "distill/train/student.h"

namespace lancet {

/// Rank 0's values everywhere; contiguous, on the CPU.
void broadcast_tensor(const Ranks& ranks, const at::Tensor& tensor);

/// Sums of all ranks. Metrics are those that rank 0 has (it has a micro-batch of every window).
void share_sums(const Ranks& ranks, LossSums& sums);

/// Rank 0's place in the run, parameters and optimiser.
void share_state(const Ranks& ranks, RunState& state, const LoraAdapter& adapter,
                 Optimizer& optimizer);

}  // namespace lancet
