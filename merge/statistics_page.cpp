// The page of `merge --report`: no scripts, no outside references.
#include <algorithm>
#include <cmath>
#include <functional>

#include <fmt/format.h>

#include "core/svg.h"
#include "formats/layer_map.h"
#include "merge/statistics.h"

namespace lancet {
namespace {

std::string map_of(const std::vector<TensorOrigin>& origins, const std::string& title,
                   const std::string& unit,
                   const std::function<double(const TensorOrigin&)>& value) {
  std::vector<std::pair<std::string, double>> values;
  values.reserve(origins.size());
  for (const TensorOrigin& origin : origins)
    values.emplace_back(origin.name, origin.norm > 0 ? value(origin) : std::nan(""));
  return draw_heat_map(layer_map(title, unit, values)) + "\n";
}

}  // namespace

std::string origins_page(const RecipeFile& recipe, const MergePlan& plan,
                         const std::vector<TensorOrigin>& origins) {
  const Json json = origins_json(plan, origins);
  std::string body =
      fmt::format("<p>Method <b>{}</b> ({}, {}), {} tensors.</p>\n", html_escape(plan.method->name),
                  html_escape(plan.method->title), html_escape(plan.method->paper), origins.size());
  body +=
      "<h2>Who gave what</h2>\n<p>The effective weight of a model in a tensor is its "
      "least-squares coefficient: the mixture of the models"
      " (of their differences from the base, where there is one) that comes nearest to the "
      "result.</p>\n<table>\n<tr><th>model</th><th>mean weight</th></tr>\n";
  for (const Json& model : json["models"]) {
    body +=
        fmt::format("<tr><td>{}</td><td>{:.4f}</td></tr>\n",
                    html_escape(model["model"].get<std::string>()), model["weight"].get<double>());
  }
  body += "</table>\n";
  for (const std::size_t i : merged_inputs(plan)) {
    body += map_of(origins, "Effective weight of " + plan.inputs[i]->text(), "weight",
                   [i](const TensorOrigin& origin) { return origin.weights[i]; });
  }
  body += map_of(origins, "Not explained by any mixture", "share of the norm",
                 [](const TensorOrigin& origin) { return origin.unexplained; });
  const bool has_base =
      std::ranges::any_of(origins, [](const TensorOrigin& origin) { return origin.change > 0; });
  if (has_base)
    body += map_of(origins, "Change ||merged - base|| / ||base||", "relative norm",
                   [](const TensorOrigin& origin) { return origin.change; });
  body += "<h2>Recipe</h2>\n<pre>" + html_escape(recipe.text) + "</pre>\n";
  return html_page("lancet merge", body);
}

}  // namespace lancet
