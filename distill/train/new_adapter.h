#pragma once
// The adapter that a run trains: a new one, or the values of one on disk.

#include <cstdint>

#include "distill/train/requests.h"
#include "formats/model_source.h"
#include "model/lora.h"

namespace lancet {

/// As the request has it (lora, or init). kUsage and kMismatch as LoraAdapter's constructors;
/// kUsage for LoRA+ on embeddings; kMismatch where the base's matrices that PEFT lays beside an
/// adapter's factors are those of another base than `source`.
[[nodiscard]] LoraAdapter new_adapter(const TrainRequest& request, const ModelSource& source,
                                      const DecoderSpec& spec, std::uint64_t seed);

}  // namespace lancet
