#include "formats/adapter/peft.h"

#include <algorithm>
#include <cmath>
#include <regex>
#include <set>

#include <fmt/format.h>

#include "core/error.h"
#include "core/nearby.h"
#include "core/text.h"
#include "formats/adapter/patterns.h"
#include "formats/quant/decode.h"

namespace lancet {
namespace {

constexpr std::string_view kOperation = "adapter";
constexpr std::string_view kConfig = "adapter_config.json";
constexpr std::string_view kPrefix = "base_model.model.";

[[noreturn]] void refuse(ErrorKind kind, const fs::path& path, const std::string& message,
                         std::string hint = {}) {
  fail(kind, kOperation, fmt::format("{}: {}", printable(path.string(), 400), message),
       std::move(hint));
}

bool take_suffix(std::string& name, std::string_view suffix) {
  if (!name.ends_with(suffix)) return false;
  name.resize(name.size() - suffix.size());
  return true;
}

void drop(std::string& name, std::string_view part) {
  const std::size_t at = name.find(part);
  if (at != std::string::npos) name.erase(at, part.size());
}

std::optional<double> in_pattern(const Json& config, std::string_view key,
                                 const std::string& module, const fs::path& path) {
  const auto patterns = config.find(key);
  if (patterns == config.end() || patterns->is_null()) return std::nullopt;
  for (const auto& [pattern, value] : patterns->items()) {
    try {
      if (pattern_fits(pattern, module)) return value.get<double>();
    } catch (const std::regex_error& error) {
      refuse(ErrorKind::kInput, path / kConfig,
             fmt::format("{}: '{}' is no pattern ({})", key, printable(pattern), error.what()));
    }
  }
  return std::nullopt;
}

/// Factors that were taken off their base as training began, which the files say nothing of, belong
/// to that base. PEFT's own conversion to plain ones leaves init_lora_weights true.
void check_begin(const Json& config, const fs::path& where) {
  const auto found = config.find("init_lora_weights");
  if (found == config.end() || !found->is_string()) return;
  const auto begin = found->get<std::string>();
  const bool of_base = begin.starts_with("pissa") || begin.starts_with("corda") ||
                       begin == "olora" || begin == "loftq" || begin == "lora_ga";
  if (!of_base) return;
  refuse(ErrorKind::kMismatch, where,
         fmt::format("expected factors for the model itself, found some for what '{}' left of it "
                     "(init_lora_weights)",
                     printable(begin)),
         "save it with PEFT's path_initial_model_for_weight_conversion; beside the very base it "
         "was trained on, saved, set init_lora_weights to true");
}

}  // namespace

fs::path adapter_weights(const fs::path& directory) {
  const fs::path usual = directory / "adapter_model.safetensors";
  const fs::path torch = directory / "adapter_model.bin";
  std::error_code ignored;
  return !fs::exists(usual, ignored) && fs::exists(torch, ignored) ? torch : usual;
}

bool is_adapter(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path / kConfig, ignored);
}

std::shared_ptr<const Adapter> Adapter::open(const fs::path& path) {
  auto out = std::make_shared<Adapter>();
  out->path_ = path;
  std::error_code ignored;
  if (!is_adapter(path)) {
    const bool there = fs::exists(path, ignored);
    refuse(ErrorKind::kInput, path,
           fmt::format("expected a PEFT adapter, found {}",
                       there ? "no adapter_config.json in it" : "no such directory"),
           there ? "an adapter is a folder of adapter_config.json and adapter_model.safetensors"
                 : nearby_hint(path));
  }
  const fs::path weights = adapter_weights(path);
  if (!fs::is_regular_file(weights, ignored))
    refuse(ErrorKind::kInput, path,
           "expected adapter_model.safetensors or adapter_model.bin, found none");
  out->config_ = read_json(path / kConfig, 64ULL << 20);
  out->check_config();
  out->checkpoint_ = Checkpoint::open(weights);
  for (const TensorInfo& tensor : out->checkpoint_->tensors()) out->take(tensor);
  std::ranges::sort(out->modules_, {}, &LoraModule::name);
  std::ranges::sort(out->saved_, {}, &SavedTensor::name);
  for (LoraModule& module : out->modules_) out->finish(module);
  if (out->modules_.empty() && out->saved_.empty())
    refuse(ErrorKind::kInput, path, "expected at least one tensor, found none");
  return out;
}

void Adapter::check_config() const {
  const fs::path where = path_ / kConfig;
  if (!config_.is_object()) refuse(ErrorKind::kInput, where, "expected an object");
  const std::string type = json_string(config_, "peft_type", where.string());
  if (type != "LORA")
    refuse(ErrorKind::kMismatch, where,
           fmt::format("expected peft_type LORA, found '{}'", printable(type)));
  for (const std::string_view key :
       {"trainable_token_indices", "layer_replication", "target_parameters",
        "alora_invocation_tokens", "use_qalora", "monteclora_config", "use_bdlora", "arrow_config",
        "kasa_config"}) {
    const auto found = config_.find(key);
    if (found == config_.end() || found->is_null() || found->empty() || *found == false) continue;
    refuse(ErrorKind::kMismatch, where,
           fmt::format("'{}' changes what the adapter does, and lancet does not do it", key));
  }
  check_begin(config_, where);
  for (const std::string_view key : {"rank_pattern", "alpha_pattern"}) {
    const auto found = config_.find(key);
    if (found == config_.end() || found->is_null()) continue;
    if (!found->is_object() ||
        std::ranges::any_of(*found, [](const Json& value) { return !value.is_number(); }))
      refuse(ErrorKind::kInput, where, fmt::format("{}: expected an object of numbers", key));
  }
}

LoraModule& Adapter::module(const std::string& name, LoraModule::Kind kind) {
  const auto found = std::ranges::find(modules_, name, &LoraModule::name);
  LoraModule& own = found == modules_.end() ? modules_.emplace_back() : *found;
  own.name = name;
  if (kind == LoraModule::Kind::kEmbedding) own.kind = kind;
  return own;
}

void Adapter::take(const TensorInfo& tensor) {
  std::string name = tensor.name;
  if (!name.starts_with(kPrefix)) {
    refuse(ErrorKind::kInput, path_,
           fmt::format("tensor '{}': expected a name that begins with {}", printable(tensor.name),
                       kPrefix));
  }
  name.erase(0, kPrefix.size());
  if (!dtype_info(tensor.dtype).floating || dtype_info(tensor.dtype).quantized) {
    refuse(ErrorKind::kMismatch, path_,
           fmt::format("tensor '{}': expected floating-point values, found {}",
                       printable(tensor.name), dtype_info(tensor.dtype).name));
  }
  const bool of_base = name.find(".base_layer.") != std::string::npos;
  for (const std::string_view part :
       {".modules_to_save.default", ".modules_to_save", ".base_layer", ".default"})
    drop(name, part);
  using Kind = LoraModule::Kind;
  if (take_suffix(name, ".lora_A.weight")) {
    module(name, Kind::kLinear).a = &tensor;
  } else if (take_suffix(name, ".lora_B.weight")) {
    module(name, Kind::kLinear).b = &tensor;
  } else if (take_suffix(name, ".lora_embedding_A")) {
    module(name, Kind::kEmbedding).a = &tensor;
  } else if (take_suffix(name, ".lora_embedding_B")) {
    module(name, Kind::kEmbedding).b = &tensor;
  } else if (take_suffix(name, ".lora_magnitude_vector") ||
             take_suffix(name, ".lora_magnitude_vector.weight")) {
    module(name, Kind::kLinear).magnitude = &tensor;
  } else if (name.find(".lora_") != std::string::npos) {
    refuse(ErrorKind::kMismatch, path_,
           fmt::format("tensor '{}' is a part of an adapter that lancet does not know",
                       printable(tensor.name)));
  } else {
    saved_.push_back({name, &tensor, of_base});
  }
}

/// Shapes, rank, scale.
void Adapter::finish(LoraModule& module) const {
  const auto bad = [&](const std::string& message) {
    refuse(ErrorKind::kInput, path_,
           fmt::format("module '{}': {}", printable(module.name), message));
  };
  if (module.a == nullptr || module.b == nullptr)
    bad(fmt::format("expected both halves, found no lora_{}", module.a == nullptr ? "A" : "B"));
  if (module.a->shape.size() != 2 || module.b->shape.size() != 2)
    refuse(ErrorKind::kMismatch, path_,
           fmt::format("module '{}': expected matrices (linear layers and embeddings), found a "
                       "convolution",
                       printable(module.name)));
  module.rank = module.a->shape[0];
  if (module.b->shape[1] != module.rank || module.rank == 0)
    bad(fmt::format("expected A [r, in] and B [out, r], found [{}, {}] and [{}, {}]",
                    module.a->shape[0], module.a->shape[1], module.b->shape[0],
                    module.b->shape[1]));
  const std::string where = (path_ / kConfig).string();
  const double rank = in_pattern(config_, "rank_pattern", module.name, path_)
                          .value_or(json_number(config_, "r", where, 8));
  if (rank != static_cast<double>(module.rank))
    bad(fmt::format("expected rank {} of adapter_config.json, found {} in the weights", rank,
                    module.rank));
  const double alpha = in_pattern(config_, "alpha_pattern", module.name, path_)
                           .value_or(json_number(config_, "lora_alpha", where, 8));
  module.scale = alpha / (json_bool(config_, "use_rslora", where, false) ? std::sqrt(rank) : rank);
  const bool transposed = json_bool(config_, "fan_in_fan_out", where, false);
  if (module.kind == LoraModule::Kind::kLinear && transposed)
    module.kind = LoraModule::Kind::kTransposed;
  const bool dora = json_bool(config_, "use_dora", where, false);
  if (dora != (module.magnitude != nullptr))
    bad(dora ? "expected a lora_magnitude_vector (use_dora), found none"
             : "found a lora_magnitude_vector without use_dora");
  if (!dora) return;
  if (module.magnitude->elements() != static_cast<std::uint64_t>(module.b->shape[0]))
    bad("expected one magnitude for each output");
}

std::vector<float> Adapter::values(const TensorInfo& tensor) const {
  std::vector<float> out(tensor.elements());
  decode_f32(tensor.dtype, checkpoint_->data(tensor), out);
  return out;
}

void Adapter::check_finite() const {
  for (const TensorInfo& tensor : checkpoint_->tensors()) {
    const std::vector<float> all = values(tensor);
    const auto bad = std::ranges::find_if(all, [](float value) { return !std::isfinite(value); });
    if (bad == all.end()) continue;
    refuse(ErrorKind::kNumeric, path_,
           fmt::format("tensor '{}': expected finite values, found {} at element {}",
                       printable(tensor.name), *bad, bad - all.begin()));
  }
}

void Adapter::check_lists() const {
  const auto saved = config_.find("modules_to_save");
  if (saved == config_.end() || !saved->is_array()) return;
  for (const LoraModule& module : modules_) {
    const auto both = std::ranges::find_if(*saved, [&](const Json& name) {
      return name.is_string() && names_module(name.get<std::string>(), module.name);
    });
    if (both == saved->end()) continue;
    refuse(ErrorKind::kMismatch, path_,
           fmt::format("module '{}': expected factors or a place in modules_to_save, found both "
                       "('{}')",
                       printable(module.name), printable(both->get<std::string>())),
           "PEFT does not load it; `lancet adapter merge` does");
  }
}

}  // namespace lancet
