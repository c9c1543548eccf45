#pragma once
// A PEFT LoRA adapter written. Without a config of its own alpha follows each module's rank, so
// that every scale is 1 and W' = W + B A (transposed as LoraModule::Kind says).

#include <cstdint>
#include <string>
#include <vector>

#include "formats/adapter/peft.h"
#include "formats/containers/safetensors.h"

namespace lancet {

struct LoraFactors {
  std::string module;  ///< "model.layers.3.mlp.down_proj"
  LoraModule::Kind kind = LoraModule::Kind::kLinear;
  std::int64_t rank = 0, d_in = 0, d_out = 0;
  std::vector<float> a;          ///< [rank, d_in]
  std::vector<float> b;          ///< [d_out, rank]
  std::vector<float> magnitude;  ///< DoRA (the config says use_dora): [d_out]; else empty
};

struct AdapterFile {
  std::string base;  ///< base_model_name_or_path
  std::vector<LoraFactors> modules;
  /// Whole tensors under the model's names. PEFT finds those of modules without factors by
  /// modules_to_save, if a module's weight and bias are both there; biases of modules with factors
  /// are its `bias: lora_only`.
  std::vector<OutputTensor> saved;
  DType dtype = DType::kF32;  ///< of the factors, rounded once
  Json manifest;              ///< of lancet.json
  Json config;  ///< adapter_config.json where it is an object; `base` is added, `saved` is not
  std::string readme, notice;  ///< README.md and NOTICE, or none
};

/// Writes adapter_model.safetensors, README.md, NOTICE, lancet.json, which lists them all, and,
/// last, adapter_config.json into DIR, which exists; each file by itself is atomic. kNumeric for a
/// value that `dtype` cannot hold.
void write_adapter(const fs::path& directory, AdapterFile file);

/// Writes DIR/adapter_config.json, adapter_model.safetensors and lancet.json (atomic). kUsage when
/// DIR exists and `force` is false, or is not replaceable as an adapter (formats/replaceable.h).
void save_adapter(const fs::path& directory, AdapterFile file, bool force);

}  // namespace lancet
