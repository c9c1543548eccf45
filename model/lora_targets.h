#pragma once
// Which modules a LoRA is put on, and with what rank and scale.

#include <vector>

#include "core/json.h"
#include "model/lora.h"

namespace lancet {

struct LoraTarget {
  LinearModule module;
  std::int64_t rank = 0;
  double scale = 1;
};

/// kUsage where a setting is out of range or a target, layer or pattern fits nothing.
[[nodiscard]] std::vector<LoraTarget> lora_targets(const DecoderSpec& spec,
                                                   const LoraSettings& settings);

/// adapter_config.json of these targets.
[[nodiscard]] Json lora_config(const DecoderSpec& spec, const LoraSettings& settings,
                               const std::vector<LoraTarget>& targets);

}  // namespace lancet
