#pragma once
// Which layers to edit: given, preset for a model that was measured, or found by a quick sweep.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "model/architecture.h"

namespace lancet {

struct LayerChoice {
  std::vector<std::int64_t> layers;
  std::string reason;  ///< "given", "preset: ...", "sweep: ..."
  Json sweep;          ///< what the sweep measured, or null
};

/// One layer tried by the sweep.
struct LayerTrial {
  double works = 0;        ///< share of facts of which the edited model says the target
  double drift = 0;        ///< mean KL(before || after) over same-template prompts, nats
  double probability = 0;  ///< of the target after the edit, per token (geometric mean)
};

/// "5", "4-8" -> the layers (kUsage for another spelling or a layer the model does not have).
[[nodiscard]] std::vector<std::int64_t> parse_layers(const std::string& text, std::int64_t layers,
                                                     std::string_view operation = "edit");
/// The measured layer of a known (model_type, layers, d_model), with the reason.
[[nodiscard]] std::optional<LayerChoice> preset_layers(const DecoderSpec& spec);
/// The given layers, or those of `wish` "auto" for a known model; nothing where a sweep has to
/// choose.
[[nodiscard]] std::optional<LayerChoice> told_layers(const std::string& wish,
                                                     const DecoderSpec& spec);
/// Error(kMismatch) where one of the layers has no MLP whose down projection could be rewritten.
void require_mlp(const DecoderSpec& spec, const std::vector<std::int64_t>& layers,
                 std::string_view operation);
/// Early to middle layers, where facts are edited with the least drift: at most six.
[[nodiscard]] std::vector<std::int64_t> sweep_candidates(std::int64_t layers);
/// The range that an editor of several layers takes where `one` was chosen for it by preset or
/// sweep: the published range of a known model, else the layer with its neighbours. A given choice
/// stays.
[[nodiscard]] LayerChoice spread_layers(LayerChoice one, const DecoderSpec& spec);
/// Every layer, for `--layers auto`; a given choice is parsed.
[[nodiscard]] LayerChoice every_layer(const std::string& wish, std::int64_t layers);
/// The layer at 7/8 of the depth, or the next below it that has an MLP, for `--layers auto`; a
/// given choice is parsed. For editors whose change is meant for the output itself.
[[nodiscard]] LayerChoice late_layer(const std::string& wish, const DecoderSpec& spec);
/// Index of the trial that works for the most facts, of equals the one with the smallest drift;
/// where none works, the one whose target is likeliest.
[[nodiscard]] std::size_t best_trial(const std::vector<LayerTrial>& trials);
/// `wish` "auto": the preset, else the candidate that works with the smallest drift.
[[nodiscard]] LayerChoice choose_layers(const std::string& wish, const DecoderSpec& spec,
                                        const std::function<LayerTrial(std::int64_t)>& trial);

}  // namespace lancet
