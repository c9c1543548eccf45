#pragma once
// Planning of one document of a recipe (merge/plan.h is the door).

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "merge/plan.h"

namespace lancet {

using OpenedInputs = std::map<std::string, std::shared_ptr<const MergeInput>, std::less<>>;

/// Calls `visit` for every model that a document names.
void for_each_model(const Recipe& recipe, const std::function<void(const RecipeModel&)>& visit);

/// `opened` holds every model of the document by RecipeModel::text.
[[nodiscard]] std::shared_ptr<const MergePlan> plan_document(const RecipeFile& file,
                                                             const Recipe& recipe,
                                                             const OpenedInputs& opened,
                                                             const MergeOptions& options);

/// True when a tensor belongs to a module of a recipe: one of mergekit's names (default,
/// text_decoder, vision_tower, multi_modal_projector, audio_tower), or a prefix of tensor names.
[[nodiscard]] bool in_module(std::string_view module, std::string_view tensor);

/// Warns about filters that match no tensor and gradients that cannot show.
void warn_idle_values(const Recipe& recipe, const std::vector<PlannedTensor>& tensors,
                      const std::function<void(RecipePlace, const std::string&)>& warn);

/// Layers that slices stack anew.
struct LayerStack {
  std::string family;                ///< "model.layers."
  std::int64_t before = 0;           ///< layers of the reference
  std::vector<std::int64_t> layers;  ///< the reference layer behind each layer of the result
};

/// The configuration of the result: the reference's with layers, dtype and tying made to say what
/// was written.
[[nodiscard]] Json merged_config(const Json& reference, const std::vector<LayerStack>& stacks,
                                 const std::vector<PlannedTensor>& tensors);

}  // namespace lancet
