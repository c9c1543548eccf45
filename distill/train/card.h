#pragma once
// README.md of a trained adapter: a model card as PEFT writes it, and how it was made.

#include <string>

#include "core/json.h"
#include "distill/train/requests.h"
#include "formats/adapter/peft_writer.h"
#include "model/lora.h"

namespace lancet {

[[nodiscard]] std::string adapter_card(const TrainRequest& request, const LoraAdapter& adapter,
                                       const Json& result);

/// What the licences of the data's teachers ask (ROWS.lancet.json beside each data file): a section
/// of the card, "licence" in the manifest, and OUT/NOTICE. Warns where a distributed model's name
/// would have to begin otherwise.
void add_licences(const TrainRequest& request, AdapterFile& file);

}  // namespace lancet
