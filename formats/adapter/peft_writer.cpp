#include "formats/adapter/peft_writer.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"
#include "core/hash.h"
#include "core/text.h"
#include "formats/model_writer.h"
#include "formats/quant/decode.h"
#include "formats/replaceable.h"

namespace lancet {
namespace {

constexpr const char* kPrefix = "base_model.model.";

OutputTensor output_of(std::string name, std::vector<std::int64_t> shape,
                       const std::vector<float>& values, DType dtype) {
  std::vector<std::byte> bytes(dtype_bytes(dtype, values.size()).value());
  encode_f32(dtype, values, bytes);
  std::vector<float> held(values.size());
  decode_f32(dtype, bytes, held);
  if (!std::ranges::all_of(held, [](float value) { return std::isfinite(value); }))
    fail(ErrorKind::kNumeric, "adapter",
         fmt::format("tensor '{}': expected values that {} can hold, found others", printable(name),
                     dtype_info(dtype).name),
         "give --dtype float32 or bfloat16");
  return {std::move(name), dtype, std::move(shape),
          [bytes = std::move(bytes)](const std::function<void(Bytes)>& emit) { emit(bytes); }};
}

/// "model.norm.weight" -> "model.norm".
std::string module_of(const std::string& name) {
  const bool part = name.ends_with(".weight") || name.ends_with(".bias");
  return part ? name.substr(0, name.rfind('.')) : name;
}

std::set<std::string> modules_of(const AdapterFile& file) {
  std::set<std::string> out;
  for (const LoraFactors& each : file.modules) out.insert(each.module);
  return out;
}

void add_tensors(const LoraFactors& each, DType dtype, std::vector<OutputTensor>& tensors) {
  const bool embedding = each.kind == LoraModule::Kind::kEmbedding;
  const auto name = [&](char factor) {
    return embedding ? fmt::format("{}{}.lora_embedding_{}", kPrefix, each.module, factor)
                     : fmt::format("{}{}.lora_{}.weight", kPrefix, each.module, factor);
  };
  tensors.push_back(output_of(name('A'), {each.rank, each.d_in}, each.a, dtype));
  tensors.push_back(output_of(name('B'), {each.d_out, each.rank}, each.b, dtype));
  if (!each.magnitude.empty())
    tensors.push_back(output_of(fmt::format("{}{}.lora_magnitude_vector", kPrefix, each.module),
                                {each.d_out}, each.magnitude, dtype));
}

/// The config of factors whose scale is 1.
Json plain_config(const AdapterFile& file) {
  const std::set<std::string> targets = modules_of(file);
  std::set<std::string> saved;
  Json ranks = Json::object();
  std::int64_t largest = 1;
  bool transposed = false, biases = false;
  for (const LoraFactors& each : file.modules) {
    transposed = transposed || each.kind == LoraModule::Kind::kTransposed;
    ranks[each.module] = each.rank;
    largest = std::max(largest, each.rank);
  }
  for (const OutputTensor& each : file.saved) {
    const std::string module = module_of(each.name);
    if (targets.contains(module)) {
      biases = true;
    } else {
      saved.insert(module);
    }
  }
  return {{"peft_type", "LORA"},
          {"task_type", "CAUSAL_LM"},
          {"base_model_name_or_path", file.base},
          {"r", largest},
          {"lora_alpha", largest},
          {"lora_dropout", 0.0},
          {"bias", biases ? "lora_only" : "none"},
          {"fan_in_fan_out", transposed},
          {"inference_mode", true},
          {"init_lora_weights", true},
          {"use_rslora", false},
          {"use_dora", false},
          {"target_modules", targets},
          {"rank_pattern", ranks},
          {"alpha_pattern", ranks},
          {"modules_to_save", saved.empty() ? Json() : Json(saved)}};
}

}  // namespace

void write_adapter(const fs::path& directory, AdapterFile file) {
  Json config = file.config.is_object() ? file.config : plain_config(file);
  config["base_model_name_or_path"] = file.base;
  std::vector<OutputTensor> tensors;
  for (const LoraFactors& each : file.modules) add_tensors(each, file.dtype, tensors);
  const std::set<std::string> targets = modules_of(file);
  for (OutputTensor& each : file.saved) {
    const std::string module = module_of(each.name);
    const bool beside = each.name.ends_with(".bias") && targets.contains(module);
    each.name = kPrefix + (beside ? module + ".base_layer.bias" : each.name);
    tensors.push_back(std::move(each));
  }
  const fs::path weights = directory / "adapter_model.safetensors";
  const std::string hash = save_safetensors(weights, std::move(tensors), {{"format", "pt"}});
  std::vector<WrittenFile> files{{weights, fs::file_size(weights), hash}};
  const auto add_text = [&](const char* name, const std::string& text) {
    files.push_back({directory / name, text.size(), sha256_hex(text)});
  };
  for (const auto& [name, text] :
       {std::pair("README.md", &file.readme), std::pair("NOTICE", &file.notice)}) {
    if (text->empty()) continue;
    write_file(directory / name, *text);
    add_text(name, *text);
  }
  const std::string config_text = dump_json(config, 2) + "\n";
  add_text("adapter_config.json", config_text);
  if (file.manifest.is_object()) write_manifest(directory / "lancet.json", file.manifest, files);
  write_file(directory / "adapter_config.json", config_text);
}

void save_adapter(const fs::path& directory, AdapterFile file, bool force) {
  check_output("adapter", directory, force);
  check_replaceable(directory, DirectoryKind::kAdapter);
  AtomicDirectory out(directory);
  write_adapter(out.path(), std::move(file));
  out.commit(force);
}

}  // namespace lancet
