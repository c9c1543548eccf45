#pragma once
// What a training run was asked for: checked, told to data, logs and manifests, and as the identity
// that a resumed run must have again.

#include <cstdint>

#include "core/json.h"
#include "distill/losses/loss.h"
#include "distill/train/dataset.h"
#include "distill/train/requests.h"
#include "model/lora.h"
#include "model/requests.h"

namespace lancet {

/// A finished adapter is kept (kUsage without request.force); one in the making is gone on with.
void check_out(const TrainRequest& request);
/// Words and numbers that need neither model nor data: kUsage for those that mean nothing, for a
/// loss that wants a teacher and has none, or has one and wants none, and for files that would be
/// read and written.
void check_settings(const TrainRequest& request);

[[nodiscard]] DatasetOptions data_options(const TrainRequest& request, const Loss& loss,
                                          std::uint64_t seed);
[[nodiscard]] Json settings_json(const TrainRequest& request, const LossOptions& loss,
                                 const LoraAdapter& adapter);
/// Everything that moves a bit of the run, by content: places and names do not. `models`: as
/// model_identity() has them.
[[nodiscard]] Json identity_of(const TrainRequest& request, const RuntimeOptions& runtime,
                               const Dataset& data, Json settings, Json models);
/// [{"path", "sha256"?}] of what the run has read, for its manifest.
[[nodiscard]] Json inputs_json(const TrainRequest& request);

}  // namespace lancet
