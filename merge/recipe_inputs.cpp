#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "merge/recipe_reader.h"

namespace lancet {
namespace {

/// The models, slices and modules of a document.
class InputReader {
 public:
  InputReader(const RecipeReader& reader, const Method& method)
      : reader_(reader), method_(method) {}

  RecipeValues parameters(const Node& mapping) const {
    const Node* node = mapping.find("parameters");
    return node == nullptr ? RecipeValues{} : reader_.values(*node, method_);
  }

  RecipeSource source(const Node& node, bool layers) const {
    RecipeSource out;
    out.place = place_of(node);
    if (node.kind != Node::Kind::kMapping) {
      reader_.refuse(node, "expected a mapping with model: PATH, found something else",
                     "say - model: PATH");
    }
    reader_.keys(node, layers ? std::vector<std::string_view>{"model", "layer_range", "parameters"}
                              : std::vector<std::string_view>{"model", "parameters"});
    if (node.find("model") == nullptr)
      reader_.refuse(node, "expected a model, found none", "say model: PATH");
    out.model = reader_.model(*node.find("model"));
    out.parameters = parameters(node);
    if (!layers) return out;
    const Node* range = node.find("layer_range");
    if (range == nullptr)
      reader_.refuse(node, "expected layer_range, found none", "say layer_range: [BEGIN, END]");
    if (range->kind != Node::Kind::kSequence || range->items.size() != 2) {
      reader_.refuse(*range, "layer_range: expected [begin, end)");
    }
    out.layers.emplace(reader_.integer(range->items[0], "layer_range", 0),
                       reader_.integer(range->items[1], "layer_range", 0));
    if (out.layers->first >= out.layers->second) {
      reader_.refuse(*range,
                     fmt::format("layer_range: expected begin < end, found [{}, {})",
                                 out.layers->first, out.layers->second),
                     "the end is the layer after the last one");
    }
    return out;
  }

  std::vector<RecipeSource> sources(const Node& node, bool layers) const {
    std::vector<RecipeSource> out;
    for (const Node& item : reader_.sequence(node, layers ? "sources" : "models").items)
      out.push_back(source(item, layers));
    return out;
  }

  RecipeSlice slice(const Node& node) const {
    reader_.keys(node, {"sources", "base_model", "parameters", "residual_weight"});
    RecipeSlice out;
    out.place = place_of(node);
    if (node.find("sources") == nullptr) reader_.refuse(node, "expected sources, found none");
    out.sources = sources(*node.find("sources"), true);
    const auto length = [](const RecipeSource& s) { return s.layers->second - s.layers->first; };
    for (const RecipeSource& s : out.sources) {
      if (length(s) == length(out.sources[0])) continue;
      reader_.refuse(
          node, fmt::format("expected layer ranges of equal length in a slice, found {} and {}",
                            length(out.sources[0]), length(s)));
    }
    if (const Node* base = given(node, "base_model")) out.base = reader_.model(*base);
    out.parameters = parameters(node);
    if (const Node* residual = given(node, "residual_weight")) {
      reader_.warn(*residual,
                   "residual_weight has no effect (mergekit declares it and never reads it)");
    }
    return out;
  }

  std::vector<RecipeSlice> slices(const Node& node) const {
    std::vector<RecipeSlice> out;
    for (const Node& item : reader_.sequence(node, "slices").items) out.push_back(slice(item));
    return out;
  }

  RecipeModule module_of(const std::string& name, const Node& node) const {
    reader_.keys(node, {"slices", "models", "parameters"});
    RecipeModule out;
    out.name = name;
    out.place = place_of(node);
    out.parameters = parameters(node);
    const Node* given_slices = node.find("slices");
    const Node* given_models = node.find("models");
    if ((given_slices == nullptr) == (given_models == nullptr)) {
      reader_.refuse(node,
                     fmt::format("module '{}': expected either slices or models", printable(name)));
    }
    if (given_slices != nullptr) out.slices = slices(*given_slices);
    if (given_models != nullptr) out.models = sources(*given_models, false);
    return out;
  }

 private:
  const RecipeReader& reader_;
  const Method& method_;
};

}  // namespace

void read_inputs(const RecipeReader& reader, const Node& node, Recipe& recipe) {
  const InputReader inputs(reader, *recipe.method);
  const Node* models = given(node, "models");
  const Node* slices_node = given(node, "slices");
  const Node* modules = given(node, "modules");
  const int count =
      (models != nullptr ? 1 : 0) + (slices_node != nullptr ? 1 : 0) + (modules != nullptr ? 1 : 0);
  if (count != 1) {
    reader.refuse(
        node, fmt::format("expected exactly one of models, slices and modules, found {}", count));
  }
  if (models != nullptr) recipe.models = inputs.sources(*models, false);
  if (slices_node != nullptr) recipe.slices = inputs.slices(*slices_node);
  if (modules == nullptr) return;
  if (modules->kind != Node::Kind::kMapping || modules->entries.empty()) {
    reader.refuse(*modules, "modules: expected a mapping of module names");
  }
  for (const auto& [key, value] : modules->entries)
    recipe.modules.push_back(inputs.module_of(key.scalar, value));
}

}  // namespace lancet
