// merged_config of merge/planner.h.
#include <algorithm>
#include <array>

#include "merge/planner.h"
#include "merge/tokens.h"

namespace lancet {
namespace {

constexpr std::array<std::string_view, 5> kLayerKeys{"num_hidden_layers", "n_layer", "num_layers",
                                                     "n_layers", "depth"};

enum class Modality { kText, kVision, kAudio };

/// What a part of a model of several parts reads: `name` is a key of its configuration.
Modality modality_of(std::string_view name) {
  const auto holds = [&](std::string_view word) { return name.find(word) != name.npos; };
  if (holds("vision") || holds("visual")) return Modality::kVision;
  return holds("audio") ? Modality::kAudio : Modality::kText;
}

std::string torch_name(DType dtype) {
  switch (dtype) {
    case DType::kBF16:
      return "bfloat16";
    case DType::kF16:
      return "float16";
    case DType::kF64:
      return "float64";
    default:
      return "float32";
  }
}

/// Counts of layers, and lists with one entry for each layer (layer_types). `here`: what `config`
/// is of; parts of other modalities are left alone.
void restack(Json& config, const LayerStack& stack, Modality wanted, Modality here) {
  const auto one_per_layer = [&](const Json& value) {
    return value.is_array() && stack.before > 1 &&
           static_cast<std::int64_t>(value.size()) == stack.before;
  };
  for (auto& [key, value] : config.items()) {
    if (value.is_object()) {
      const Modality inside = modality_of(key);
      restack(value, stack, wanted, inside == Modality::kText ? here : inside);
    } else if (here != wanted) {
      continue;
    } else if (std::ranges::find(kLayerKeys, key) != kLayerKeys.end() &&
               value.is_number_integer()) {
      value = stack.layers.size();
    } else if (key.starts_with("layer") && one_per_layer(value)) {
      Json stacked = Json::array();
      for (const std::int64_t layer : stack.layers)
        stacked.push_back(value[static_cast<std::size_t>(layer)]);
      value = std::move(stacked);
    }
  }
}

/// The dtype that most bytes of the result have.
DType main_dtype(const std::vector<PlannedTensor>& tensors) {
  std::map<DType, std::uint64_t> bytes;
  for (const PlannedTensor& tensor : tensors) {
    if (!tensor.copied) bytes[tensor.dtype] += tensor.bytes();
  }
  const auto most =
      std::ranges::max_element(bytes, {}, [](const auto& entry) { return entry.second; });
  return most == bytes.end() ? DType::kF32 : most->first;
}

}  // namespace

Json merged_config(const Json& reference, const std::vector<LayerStack>& stacks,
                   const std::vector<PlannedTensor>& tensors) {
  Json config = reference;
  for (const LayerStack& stack : stacks)
    restack(config, stack, modality_of(stack.family), Modality::kText);
  const std::string dtype = torch_name(main_dtype(tensors));
  if (config.contains("dtype")) config["dtype"] = dtype;
  if (config.contains("torch_dtype") || !config.contains("dtype")) config["torch_dtype"] = dtype;
  const bool head = std::ranges::any_of(
      tensors, [](const PlannedTensor& t) { return t.name.ends_with("lm_head.weight"); });
  // A head that was written must be read again.
  if (head) {
    config["tie_word_embeddings"] = false;
    Json& part = config.at(vocabulary_place(config));
    if (part.contains("tie_word_embeddings")) part["tie_word_embeddings"] = false;
  }
  return config;
}

}  // namespace lancet
