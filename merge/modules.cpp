// in_module and warn_idle_values of merge/planner.h.
#include <algorithm>

#include <fmt/format.h>

#include "core/text.h"
#include "merge/planner.h"

namespace lancet {
namespace {

using Warn = std::function<void(RecipePlace, const std::string&)>;

bool selects_any(const std::string& filter, const std::vector<PlannedTensor>& tensors) {
  return std::ranges::any_of(tensors, [&](const PlannedTensor& t) {
    const auto matches = [&](const PlannedSource& s) {
      return filter_matches(filter, s.tensor->name);
    };
    return filter_matches(filter, t.name) || std::ranges::any_of(t.models, matches);
  });
}

void check_values(const RecipeValues& values, bool one_layer,
                  const std::vector<PlannedTensor>& tensors, const Warn& warn) {
  for (const auto& [name, value] : values) {
    for (const RecipeValue::Condition& condition : value.conditions) {
      if (condition.gradient.size() > 1 && one_layer) {
        warn(condition.place,
             fmt::format("{}: a gradient over a single layer gives its last value", name));
      }
      if (condition.filter && !selects_any(*condition.filter, tensors)) {
        warn(condition.place, fmt::format("{}: the filter '{}' matches no tensor", name,
                                          printable(*condition.filter)));
      }
    }
  }
}

}  // namespace

bool in_module(std::string_view module, std::string_view tensor) {
  const auto has = [&](std::initializer_list<std::string_view> words) {
    return std::ranges::any_of(words,
                               [&](std::string_view w) { return tensor.find(w) != tensor.npos; });
  };
  const bool projector =
      has({"multi_modal_projector", "mm_projector", "connector", "visual.merger"});
  const bool vision =
      !projector && has({"vision_tower", "vision_model", "visual.", "vision_encoder"});
  const bool audio = has({"audio_tower", "audio_encoder"});
  if (module == "default") return true;
  if (module == "multi_modal_projector") return projector;
  if (module == "vision_tower") return vision;
  if (module == "audio_tower") return audio;
  if (module == "text_decoder") return !projector && !vision && !audio;
  return tensor.starts_with(module) || tensor.find(fmt::format(".{}.", module)) != tensor.npos;
}

void warn_idle_values(const Recipe& recipe, const std::vector<PlannedTensor>& tensors,
                      const Warn& warn) {
  const auto check_sources = [&](const std::vector<RecipeSource>& sources, bool one_layer) {
    for (const RecipeSource& s : sources) check_values(s.parameters, one_layer, tensors, warn);
  };
  const auto check_slices = [&](const std::vector<RecipeSlice>& slices) {
    for (const RecipeSlice& slice : slices) {
      const bool one = slice.sources[0].layers->second - slice.sources[0].layers->first == 1;
      check_values(slice.parameters, one, tensors, warn);
      check_sources(slice.sources, one);
    }
  };
  check_values(recipe.parameters, false, tensors, warn);
  check_sources(recipe.models, false);
  check_slices(recipe.slices);
  for (const RecipeModule& module : recipe.modules) {
    check_values(module.parameters, false, tensors, warn);
    check_sources(module.models, false);
    check_slices(module.slices);
  }
}

void for_each_model(const Recipe& recipe, const std::function<void(const RecipeModel&)>& visit) {
  const auto each_source = [&](const std::vector<RecipeSource>& sources) {
    for (const RecipeSource& s : sources) visit(s.model);
  };
  const auto each_slice = [&](const std::vector<RecipeSlice>& slices) {
    for (const RecipeSlice& slice : slices) {
      if (slice.base) visit(*slice.base);
      each_source(slice.sources);
    }
  };
  if (recipe.base) visit(*recipe.base);
  each_source(recipe.models);
  each_slice(recipe.slices);
  for (const RecipeModule& module : recipe.modules) {
    each_source(module.models);
    each_slice(module.slices);
  }
  if (!recipe.tokenizer) return;
  if (recipe.tokenizer->model) visit(*recipe.tokenizer->model);
  for (const RecipeToken& token : recipe.tokenizer->tokens) {
    if (token.model) visit(*token.model);
  }
}

}  // namespace lancet
