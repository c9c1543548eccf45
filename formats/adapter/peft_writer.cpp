#include "formats/adapter/peft_writer.h"

#include <algorithm>
#include <set>

#include "formats/model_writer.h"

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

}  // namespace

void save_adapter(const fs::path& directory, AdapterFile file, bool force) {
  check_output("adapter", directory, force);
  std::vector<OutputTensor> tensors;
  std::set<std::string> targets, saved;
  Json ranks = Json::object();
  std::int64_t largest = 1;
  bool transposed = false;
  for (LoraFactors& each : file.modules) {
    const bool embedding = each.kind == LoraModule::Kind::kEmbedding;
    transposed = transposed || each.kind == LoraModule::Kind::kTransposed;
    targets.insert(each.module);
    ranks[each.module] = each.rank;
    largest = std::max(largest, each.rank);
    const auto name = [&, &module = each.module](char factor) {
      return embedding ? fmt::format("{}{}.lora_embedding_{}", kPrefix, module, factor)
                       : fmt::format("{}{}.lora_{}.weight", kPrefix, module, factor);
    };
    tensors.push_back(output_f32(name('A'), {each.rank, each.d_in}, std::move(each.a)));
    tensors.push_back(output_f32(name('B'), {each.d_out, each.rank}, std::move(each.b)));
  }
  for (OutputTensor& each : file.saved) {
    saved.insert(last_module(each.name));
    each.name = kPrefix + each.name;
    tensors.push_back(std::move(each));
  }
  const Json config{{"peft_type", "LORA"},
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
  AtomicDirectory out(directory);
  const std::string text = dump_json(config, 2) + "\n";
  write_file(out.path() / "adapter_config.json", text);
  const fs::path weights = out.path() / "adapter_model.safetensors";
  const std::string hash = save_safetensors(weights, std::move(tensors), {{"format", "pt"}});
  if (file.manifest.is_object())
    write_manifest(out.path() / "lancet.json", file.manifest,
                   {{weights, fs::file_size(weights), hash}});
  out.commit(force);
}

}  // namespace lancet
