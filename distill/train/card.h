#pragma once
// README.md of a trained adapter: a model card as PEFT writes it, and how it was made.

#include <string>

#include "core/json.h"
#include "distill/train/requests.h"
#include "model/lora.h"

namespace lancet {

[[nodiscard]] std::string adapter_card(const TrainRequest& request, const LoraAdapter& adapter,
                                       const Json& result);

}  // namespace lancet
