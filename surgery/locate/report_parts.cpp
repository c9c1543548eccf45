#include "surgery/locate/report_parts.h"

#include <fmt/format.h>

#include "surgery/locate/page.h"

namespace lancet {
namespace {

/// What the lens reads first at each token (across) and layer (down), on the colour of its
/// probability.
std::string lens_table(const Json& result) {
  const Json& top = result["top"];
  std::string out = "<table>\n<tr><th class=\"n\">layer</th>";
  for (const Json& token : result["tokens"])
    out += "<th>" + html_escape(token.get<std::string>()) + "</th>";
  out += "</tr>\n";
  const std::size_t layers = top.front().size();
  for (std::size_t row = 0; row < layers; ++row) {
    const std::size_t layer = layers - 1 - row;
    out += fmt::format("<tr><td class=\"n\">{}</td>", layer);
    for (const Json& token : top) {
      const Json& first = token[layer].front();
      const double p = first["p"].get<double>();
      out += fmt::format("<td style=\"background:{};color:{}\" title=\"p = {:.4f}\">{}</td>",
                         viridis(p), p > 0.6 ? "#000" : "#fff", p,
                         html_escape(first["token"].get<std::string>()));
    }
    out += "</tr>\n";
  }
  return out + "</table>\n";
}

std::vector<double> column(const Json& rows, const char* key) {
  std::vector<double> out;
  for (const Json& row : rows) out.push_back(row[key].get<double>());
  return out;
}

}  // namespace

std::string lens_section(const Json& result) {
  return "<p>The final norm and the head read every state as if it were the last. Layer 0 is the "
         "embedding.</p>\n" +
         draw_heat_map(token_map(result, result["scores"],
                                 "p(" + result["target_token"].get<std::string>() + ")",
                                 "probability")) +
         "\n<h2>First choice at every token and layer</h2>\n" + lens_table(result);
}

std::string sweep_section(const Json& result) {
  std::vector<std::vector<Json>> rows;
  for (const Json& trial : result["trials"])
    rows.push_back({trial["layer"], trial["works"], trial["p_target"], trial["drift"]});
  std::string out = fmt::format(
      "<p>A quick edit ({}) of {} fact(s) at each layer: does it take, and how much do prompts "
      "about other subjects drift? Best: <b>layer {}</b>.</p>\n",
      html_escape(result["method"].get<std::string>()), dump_json(result["facts"]),
      dump_json(result["best"]));
  out +=
      draw_curves("Efficacy", "trial", {{"p(target)", column(result["trials"], "p_target"), {}}});
  out += draw_curves("Damage: KL to other subjects' answers, nats", "trial",
                     {{"drift", column(result["trials"], "drift"), {}}});
  return out + html_table({"layer", "share that works", "p(target)", "drift, nats"}, rows);
}

std::string neurons_section(const Json& fact) {
  std::vector<std::vector<Json>> units, prompts;
  for (const Json& unit : fact["units"])
    units.push_back({unit["layer"], unit["unit"], unit["attribution"], unit["prompts"]});
  for (const Json& p : fact["prompts"])
    prompts.push_back({p["prompt"], p["p"], p["suppressed"], p["amplified"], p["random_suppressed"],
                       p["random_amplified"]});
  std::vector<double> by_layer;
  for (const Json& value : fact["by_layer"]) by_layer.push_back(value.get<double>());
  return html_table({"layer", "unit", "attribution", "prompts"}, units) +
         "<p>p(answer) with these units at zero and doubled, and with as many random units of the "
         "same layers:</p>\n" +
         html_table({"prompt", "p", "at zero", "doubled", "random at zero", "random doubled"},
                    prompts) +
         draw_curves("Positive attribution by layer", "layer", {{"sum", by_layer, {}}});
}

}  // namespace lancet
