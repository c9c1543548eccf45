#pragma once
// A delta as a PEFT LoRA directory: lora_B = left, lora_A = right^T, alpha = rank, so that base +
// adapter is the edited model without rounding (editing reference 6.3).

#include <string>

#include "core/file.h"
#include "surgery/files/delta.h"

namespace lancet {

/// Writes DIR/adapter_config.json and DIR/adapter_model.safetensors (atomic). `base` is what
/// base_model_name_or_path says; `manifest`, where it is an object, goes into lancet.json. kUsage
/// when DIR exists and `force` is false.
void save_lora(const fs::path& directory, const Delta& delta, const std::string& base, bool force,
               const Json& manifest = {});

}  // namespace lancet
