#pragma once
// `lancet train` from request to adapter.

#include "distill/train/requests.h"
#include "model/requests.h"

namespace lancet {

/// Trains and writes OUT; returns the last line of `train --json` (with request.plan: the plan, and
/// nothing is written; with request.settings_only what the data has to be: {"chat": whether
/// conversations can be rendered, "pairs", "top": what the loss wants}). Every step and evaluation
/// goes through `sink`. A rerun after a stop goes on from OUT/checkpoints. Errors: kUsage
/// (settings, an OUT that is there), kInput (data), kMismatch (data, loss and model that do not
/// fit), kNumeric (a loss that is not finite), kInterrupted.
[[nodiscard]] Json run_train(const TrainRequest& request, const RuntimeOptions& runtime,
                             const TrainSink& sink);

}  // namespace lancet
