#pragma once
// The model card that a merge leaves beside its weights (README.md).

#include <string>

#include "merge/plan.h"

namespace lancet {

/// Front matter as the Hugging Face hub reads it (base_model, tags, licence where all inputs agree
/// on one), then recipe, inputs with their licences, and how to check and repeat the merge.
[[nodiscard]] std::string model_card(const RecipeFile& recipe, const MergePlan& plan);

}  // namespace lancet
