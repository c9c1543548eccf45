#include "surgery/layers.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"

namespace lancet {
namespace {

struct Preset {
  std::string_view model_type;
  std::int64_t layers, d_model, layer;
  std::int64_t first, last;  ///< of an editor of several layers
  std::string_view reason;
};
// The others are the released configurations of ROME, MEMIT and EasyEdit (editing reference 1.12).
constexpr Preset kPresets[] = {
    {"llama", 30, 576, 3, 2, 4, "SmolLM2-135M, measured on known facts (docs/editing.md)"},
    {"llama", 32, 4096, 5, 4, 8, "Llama 2 7B and Llama 3 8B, published configuration"},
    {"llama", 28, 3072, 5, 4, 8, "Llama 3.2 3B, published configuration"},
    {"mistral", 32, 4096, 5, 4, 8, "Mistral 7B, published configuration"},
    {"qwen2", 28, 3584, 5, 4, 8, "Qwen2.5 7B, published configuration"},
    {"gpt2", 24, 1024, 8, 7, 9, "GPT-2 medium, published configuration"},
    {"gpt2", 36, 1280, 12, 11, 13, "GPT-2 large, published configuration"},
    {"gpt2", 48, 1600, 17, 13, 17, "GPT-2 XL, published configuration"},
    {"gptj", 28, 4096, 5, 3, 8, "GPT-J 6B, published configuration"},
    {"gpt_neox", 44, 6144, 15, 6, 10, "GPT-NeoX 20B, published configuration"},
};

std::int64_t parse_layer(std::string_view text, const std::string& whole, std::int64_t layers,
                         std::string_view operation) {
  std::int64_t value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < 0 || value >= layers) {
    fail(ErrorKind::kUsage, operation,
         fmt::format("--layers: expected {}N or N-M with layers 0 to {}, found '{}'",
                     operation == "covariance" ? "" : "auto, ", layers - 1, printable(whole)),
         fmt::format("the model has {} layers, counted from 0: --layers {} or --layers {}-{}",
                     layers, layers / 2, layers / 3, layers / 2));
  }
  return value;
}

const Preset* find_preset(const DecoderSpec& spec) {
  for (const Preset& preset : kPresets) {
    if (preset.model_type == spec.model_type && preset.layers == spec.layers &&
        preset.d_model == spec.d_model)
      return &preset;
  }
  return nullptr;
}

}  // namespace

std::vector<std::int64_t> parse_layers(const std::string& text, std::int64_t layers,
                                       std::string_view operation) {
  const std::size_t dash = text.find('-');
  const std::string_view view = text;
  const std::int64_t first = parse_layer(view.substr(0, dash), text, layers, operation);
  const std::int64_t last = dash == std::string::npos
                                ? first
                                : parse_layer(view.substr(dash + 1), text, layers, operation);
  if (last < first)
    fail(ErrorKind::kUsage, operation,
         fmt::format("--layers: expected N <= M, found '{}'", printable(text)));
  std::vector<std::int64_t> out;
  for (std::int64_t layer = first; layer <= last; ++layer) out.push_back(layer);
  return out;
}

std::optional<LayerChoice> preset_layers(const DecoderSpec& spec) {
  const Preset* preset = find_preset(spec);
  if (preset == nullptr) return std::nullopt;
  return LayerChoice{{preset->layer}, fmt::format("preset: {}", preset->reason), {}};
}

std::optional<LayerChoice> told_layers(const std::string& wish, const DecoderSpec& spec) {
  if (wish == "auto") return preset_layers(spec);
  LayerChoice given{parse_layers(wish, spec.layers), "given", {}};
  require_mlp(spec, given.layers, "edit");
  return given;
}

LayerChoice spread_layers(LayerChoice one, const DecoderSpec& spec) {
  if (one.reason == "given") return one;
  const Preset* preset = find_preset(spec);
  const std::int64_t centre = one.layers.front();
  const std::int64_t first =
                         preset != nullptr ? preset->first : std::max<std::int64_t>(0, centre - 1),
                     last =
                         preset != nullptr ? preset->last : std::min(spec.layers - 1, centre + 1);
  one.layers.clear();
  for (std::int64_t layer = first; layer <= last; ++layer) one.layers.push_back(layer);
  if (preset == nullptr) one.reason += fmt::format("; with its neighbours, {} to {}", first, last);
  return one;
}

void require_mlp(const DecoderSpec& spec, const std::vector<std::int64_t>& layers,
                 std::string_view operation) {
  for (const std::int64_t layer : layers) {
    if (spec.layer[static_cast<std::size_t>(layer)].mlp) continue;
    fail(ErrorKind::kMismatch, operation,
         fmt::format("expected layers with an MLP, found a state space alone in layer {} "
                     "(model_type {})",
                     layer, spec.model_type),
         "facts are edited in the down projection of an MLP");
  }
}

std::vector<std::int64_t> sweep_candidates(std::int64_t layers) {
  std::vector<std::int64_t> out;
  for (const double depth : {0.04, 0.08, 0.12, 0.17, 0.25, 0.35}) {
    const std::int64_t layer =
        std::min<std::int64_t>(layers - 1, std::lround(depth * static_cast<double>(layers)));
    if (out.empty() || out.back() != layer) out.push_back(layer);
  }
  return out;
}

LayerChoice every_layer(const std::string& wish, std::int64_t layers) {
  if (wish != "auto") return {parse_layers(wish, layers), "given", {}};
  LayerChoice out{{}, "every layer", {}};
  for (std::int64_t layer = 0; layer < layers; ++layer) out.layers.push_back(layer);
  return out;
}

LayerChoice late_layer(const std::string& wish, const DecoderSpec& spec) {
  LayerChoice out{{}, "given", {}};
  if (wish != "auto") {
    out.layers = parse_layers(wish, spec.layers);
  } else {
    std::int64_t layer = spec.layers * 7 / 8;
    while (layer > 0 && !spec.layer[static_cast<std::size_t>(layer)].mlp) --layer;
    out = {{layer}, "7/8 of the depth", {}};
  }
  require_mlp(spec, out.layers, "edit");
  return out;
}

std::size_t best_trial(const std::vector<LayerTrial>& trials) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < trials.size(); ++i) {
    const LayerTrial &now = trials[i], &found = trials[best];
    if (now.works != found.works ? now.works > found.works
        : now.works > 0          ? now.drift < found.drift
                                 : now.probability > found.probability)
      best = i;
  }
  return best;
}

LayerChoice choose_layers(const std::string& wish, const DecoderSpec& spec,
                          const std::function<LayerTrial(std::int64_t)>& trial) {
  if (auto told = told_layers(wish, spec)) return *std::move(told);
  const std::vector<std::int64_t> candidates = sweep_candidates(spec.layers);
  require_mlp(spec, candidates, "edit");
  Json tried = Json::array();
  std::vector<LayerTrial> trials;
  for (const std::int64_t layer : candidates) {
    const LayerTrial now = trial(layer);
    tried.push_back({{"layer", layer}, {"works", now.works > 0}, {"drift", now.drift}});
    trials.push_back(now);
  }
  const std::size_t chosen = best_trial(trials);
  const std::int64_t best = candidates[chosen];
  const LayerTrial& found = trials[chosen];
  return {{best},
          found.works > 0
              ? fmt::format("sweep: layer {} takes the edit with the smallest drift ({:.4f} nats "
                            "over same-template prompts)",
                            best, found.drift)
              : fmt::format("sweep: no layer takes the edit in a few steps, layer {} comes closest "
                            "(p(target) {:.2g})",
                            best, found.probability),
          tried};
}

}  // namespace lancet
