#include "merge/layers.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace lancet {

std::optional<LayerName> layer_of(std::string_view name) {
  constexpr std::int64_t kMost = 1 << 20;
  for (std::size_t begin = 0; begin < name.size();) {
    const std::size_t end = std::min(name.size(), name.find('.', begin));
    std::int64_t number = 0;
    const char* const stop = name.data() + end;
    const auto [at, error] = std::from_chars(name.data() + begin, stop, number);
    if (error == std::errc{} && at == stop && end > begin && number >= 0 && number < kMost) {
      return LayerName{name.substr(0, begin), number, name.substr(end)};
    }
    begin = end + 1;
  }
  return std::nullopt;
}

LayerFamilies::LayerFamilies(const std::vector<InputTensor>& tensors) {
  for (const InputTensor& tensor : tensors) {
    const auto place = layer_of(tensor.name);
    if (!place) continue;
    Family& family = families_[std::string(place->family)];
    family.layers = std::max(family.layers, place->layer + 1);
    ++family.tensors;
  }
  const Family* best = nullptr;
  for (const auto& [name, family] : families_) {
    const bool more = best == nullptr || family.layers > best->layers ||
                      (family.layers == best->layers && family.tensors > best->tensors);
    if (!more) continue;
    best = &family;
    main_ = name;
  }
}

std::int64_t LayerFamilies::count(std::string_view family) const noexcept {
  const auto found = families_.find(family);
  return found == families_.end() ? 0 : found->second.layers;
}

std::vector<std::string> LayerFamilies::names() const {
  std::vector<std::string> out;
  for (const auto& [name, family] : families_) out.push_back(name);
  return out;
}

double LayerFamilies::position(std::string_view tensor) const {
  const auto place = layer_of(tensor);
  if (!place) return 0;
  const std::int64_t layers = count(place->family);
  return layers <= 1 ? 1.0 : static_cast<double>(place->layer) / static_cast<double>(layers - 1);
}

bool is_before_layers(std::string_view name) {
  constexpr std::array<std::string_view, 7> kWords{"embed", "wte",      "wpe",          "tok_emb",
                                                   "embd",  "word_emb", "shared.weight"};
  const auto holds = [&](std::string_view word) { return name.find(word) != name.npos; };
  return std::ranges::any_of(kWords, holds) && !holds("embed_out");
}

bool is_transposed(const Json& config, std::string_view name) {
  if (!config.is_object() || !name.ends_with(".weight")) return false;
  const std::string type = json_string(config, "model_type", "config.json", "");
  return (type == "gpt2" || type == "openai-gpt") && name.find(".c_") != name.npos;
}

}  // namespace lancet
