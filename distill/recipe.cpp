#include "distill/recipe.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"

namespace lancet {
namespace {

using Kind = DataParameter::Kind;

std::size_t index_of(const DataRecipe& recipe, std::string_view name) {
  for (std::size_t i = 0; i < recipe.parameters.size(); ++i) {
    if (recipe.parameters[i].name == name) return i;
  }
  fail(ErrorKind::kInternal, "recipe", fmt::format("{} has no parameter {}", recipe.name, name));
}

Json fallback_json(const DataParameter& parameter) {
  if (parameter.kind == Kind::kWord) return parameter.word;
  if (parameter.kind == Kind::kFlag) return parameter.fallback != 0;
  if (parameter.kind == Kind::kInteger) return static_cast<std::int64_t>(parameter.fallback);
  return parameter.fallback;
}

Json parameter_json(const DataParameter& parameter) {
  Json out{{"name", parameter.name}, {"default", fallback_json(parameter)}};
  if (parameter.kind == Kind::kNumber || parameter.kind == Kind::kInteger) {
    out["minimum"] = parameter.minimum;
    out["maximum"] = parameter.maximum;
  }
  if (!parameter.choices.empty()) out["choices"] = parameter.choices;
  out["help"] = parameter.help;
  return out;
}

}  // namespace

const DataRecipe& find_data_recipe(std::string_view name) {
  std::vector<std::string_view> names;
  for (const DataRecipe* each : data_recipe_registry()) {
    if (each->name == name) return *each;
    names.push_back(each->name);
  }
  std::string hint = did_you_mean(name, names);
  if (hint.empty()) hint = fmt::format("known recipes: {}", fmt::join(names, ", "));
  fail(ErrorKind::kUsage, "recipe", fmt::format("no data recipe is called '{}'", printable(name)),
       std::move(hint));
}

Json describe_data_recipes() {
  Json out = Json::array();
  for (const DataRecipe* each : data_recipe_registry()) {
    Json parameters = Json::array();
    for (const DataParameter& parameter : each->parameters)
      parameters.push_back(parameter_json(parameter));
    out.push_back({{"name", each->name},
                   {"title", each->title},
                   {"paper", each->paper},
                   {"seed", each->needs},
                   {"prompts", each->prompts},
                   {"completions", each->completions},
                   {"executes", each->executes},
                   {"parameters", parameters}});
  }
  return out;
}

DataOptions default_options(const DataRecipe& recipe) {
  DataOptions out;
  for (const DataParameter& parameter : recipe.parameters) {
    out.numbers.push_back(parameter.fallback);
    out.words.emplace_back(parameter.word);
  }
  return out;
}

double option_number(const DataRecipe& recipe, const DataOptions& options, std::string_view name) {
  return options.numbers[index_of(recipe, name)];
}

const std::string& option_word(const DataRecipe& recipe, const DataOptions& options,
                               std::string_view name) {
  return options.words[index_of(recipe, name)];
}

}  // namespace lancet
