#include "formats/adapter/peft_writer.h"

#include <algorithm>
#include <set>

#include "core/hash.h"
#include "formats/model_writer.h"
#include "formats/replaceable.h"

namespace lancet {
namespace {

constexpr const char* kPrefix = "base_model.model.";

OutputTensor output_f32(std::string name, std::vector<std::int64_t> shape,
                        std::vector<float> values) {
  return {std::move(name), DType::kF32, std::move(shape),
          [values = std::move(values)](const std::function<void(Bytes)>& emit) {
            emit(std::as_bytes(std::span(values)));
          }};
}

/// "model.norm.weight" -> "norm": what PEFT matches modules by.
std::string last_module(std::string name) {
  for (const std::string_view suffix : {".weight", ".bias"}) {
    if (name.ends_with(suffix)) name.resize(name.size() - suffix.size());
  }
  return name.substr(name.rfind('.') + 1);
}

void add_tensors(LoraFactors& each, std::vector<OutputTensor>& tensors) {
  const bool embedding = each.kind == LoraModule::Kind::kEmbedding;
  const auto name = [&](char factor) {
    return embedding ? fmt::format("{}{}.lora_embedding_{}", kPrefix, each.module, factor)
                     : fmt::format("{}{}.lora_{}.weight", kPrefix, each.module, factor);
  };
  tensors.push_back(output_f32(name('A'), {each.rank, each.d_in}, std::move(each.a)));
  tensors.push_back(output_f32(name('B'), {each.d_out, each.rank}, std::move(each.b)));
  if (!each.magnitude.empty())
    tensors.push_back(output_f32(fmt::format("{}{}.lora_magnitude_vector", kPrefix, each.module),
                                 {each.d_out}, std::move(each.magnitude)));
}

/// The config of factors whose scale is 1.
Json plain_config(const AdapterFile& file) {
  std::set<std::string> targets, saved;
  Json ranks = Json::object();
  std::int64_t largest = 1;
  bool transposed = false;
  for (const LoraFactors& each : file.modules) {
    transposed = transposed || each.kind == LoraModule::Kind::kTransposed;
    targets.insert(each.module);
    ranks[each.module] = each.rank;
    largest = std::max(largest, each.rank);
  }
  for (const OutputTensor& each : file.saved) saved.insert(last_module(each.name));
  return {{"peft_type", "LORA"},
          {"task_type", "CAUSAL_LM"},
          {"base_model_name_or_path", file.base},
          {"r", largest},
          {"lora_alpha", largest},
          {"lora_dropout", 0.0},
          {"bias", "none"},
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
  for (LoraFactors& each : file.modules) add_tensors(each, tensors);
  for (OutputTensor& each : file.saved) {
    each.name = kPrefix + each.name;
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
