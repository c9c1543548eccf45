// The HTML page of `locate ... --report`: one file, no scripts, no outside references.
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "core/svg.h"
#include "surgery/locate/page.h"
#include "surgery/locate/report_parts.h"
#include "surgery/locate/verbs.h"

namespace lancet {
namespace {

/// The prompt with its subject marked, the target, and the two probabilities.
std::string fact_head(const Json& fact) {
  const auto text = fact["prompt"].get<std::string>();
  const auto [first, behind] =
      fact.value("subject_bytes", std::pair<std::size_t, std::size_t>(text.size(), text.size()));
  std::string prompt = html_escape(text.substr(0, first));
  if (first < behind)
    prompt += "<b>" + html_escape(text.substr(first, behind - first)) + "</b>" +
              html_escape(text.substr(behind));
  std::string out = fmt::format("<p>&ldquo;{} &hellip;&rdquo; answer: <b>{}</b>", prompt,
                                html_escape(fact["target"].get<std::string>()));
  if (fact.contains("high"))
    out += fmt::format(
        "<br>p(answer): <b>{:.4f}</b> as the model is (high), <b>{:.4f}</b> with the subject "
        "corrupted (low)",
        fact["high"].get<double>(), fact["low"].get<double>());
  return out + "</p>\n";
}

std::string kind_words(const Json& map) {
  const auto kind = map["kind"].get<std::string>();
  const auto window = map["window"].get<std::int64_t>();
  if (kind == "hidden") return "Restoring one state of the residual stream";
  if (kind == "severed_mlp") return "Restoring one state, MLPs above it severed";
  if (kind == "severed_attention") return "Restoring one state, attention above it severed";
  const std::string name = kind == "mlp" ? "MLP" : "attention";
  return window == 1 ? fmt::format("Restoring one {} output", name)
                     : fmt::format("Restoring the {} outputs of {} layers around", name, window);
}

std::string map_pictures(const Json& fact, const Json& map, bool estimated) {
  const std::string unit = estimated ? "estimated change of p(answer)" : "p(answer)";
  std::string out = draw_heat_map(token_map(fact, map["scores"], kind_words(map), unit)) + "\n";
  if (!map.contains("exact")) return out;
  out += draw_heat_map(
             token_map(fact, map["exact"], kind_words(map) + ", exactly", "change of p(answer)")) +
         "\n";
  const Json& how = map["agreement"];
  return out + html_table({"Pearson", "Spearman", "of the ten best cells in common"},
                          {{how["pearson"], how["spearman"], how["top_overlap"]}});
}

std::string fact_section(const Json& fact, bool estimated) {
  std::string out = fact_head(fact);
  for (const Json& map : fact["maps"]) out += map_pictures(fact, map, estimated);
  return out;
}

std::vector<double> numbers(const Json& list) {
  std::vector<double> out;
  for (const Json& value : list)
    out.push_back(value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>());
  return out;
}

std::string average_section(const Json& average) {
  HeatMap map{.title = kind_words(average), .unit = "mean change of p(answer)"};
  std::vector<Curve> curves;
  for (const Json& role : average["roles"]) {
    const auto name = role["role"].get<std::string>();
    map.rows.push_back(name);
    map.values.push_back(numbers(role["effect"]));
    if (name == "first subject" || name == "last subject" || name == "last token")
      curves.push_back({name, map.values.back(), numbers(role["margin"])});
  }
  for (std::size_t layer = 0; layer < map.values.front().size(); ++layer)
    map.columns.push_back(std::to_string(layer));
  return draw_heat_map(map) + "\n" +
         draw_curves("Mean over facts, with 95 % intervals", "layer", curves) + "\n";
}

std::string batch_section(const Json& result) {
  std::string out = "<h2>Averages</h2>\n";
  for (const Json& average : result["averages"]) out += average_section(average);
  std::vector<std::vector<Json>> rows;
  for (const Json& fact : result["facts"])
    rows.push_back({fact["id"], fact["prompt"], fact["target"], fact["low"], fact["high"],
                    fact["best"]["text"], fact["best"]["layer"]});
  out += "<h2>Facts</h2>\n" +
         html_table({"id", "prompt", "answer", "low", "high", "best token", "layer"}, rows);
  rows.clear();
  for (const Json& fact : result["skipped"]) rows.push_back({fact["id"], fact["reason"]});
  if (!rows.empty()) out += "<h2>Left out</h2>\n" + html_table({"id", "reason"}, rows);
  return out;
}

std::string corrupted_page(const Json& result) {
  const bool estimated = result["what"] == "patch";
  std::string out = fmt::format(
      "<p>The subject's embeddings get noise of {:.3g} standard deviations (sigma {:.4g}) in {} "
      "copies; then clean values are put back, one place at a time. A bright cell: this place "
      "alone brings the answer back. Tokens of the subject are marked *.</p>\n",
      result["noise"].get<double>(), result["sigma"].get<double>(),
      result["samples"].get<std::int64_t>());
  if (estimated) out += "<p>The effects are estimated from gradients (attribution patching).</p>\n";
  return out + (result.contains("facts") ? batch_section(result) : fact_section(result, estimated));
}

}  // namespace

HeatMap token_map(const Json& fact, const Json& scores, const std::string& title,
                  const std::string& unit) {
  HeatMap map{.title = title, .unit = unit};
  const Json subject = fact.value("subject_tokens", Json::array({-1, -1}));
  for (std::size_t i = 0; i < fact["tokens"].size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    const bool own = at >= subject[0].get<std::int64_t>() && at <= subject[1].get<std::int64_t>();
    map.rows.push_back(fact["tokens"][i].get<std::string>() + (own ? "*" : ""));
    map.values.push_back(numbers(scores[i]));
  }
  for (std::size_t layer = 0; layer < map.values.front().size(); ++layer)
    map.columns.push_back(std::to_string(layer));
  return map;
}

void save_locate_report(const fs::path& path, const Json& result) {
  const auto what = result["what"].get<std::string>();
  std::string body;
  if (what == "trace" || what == "patch") body = corrupted_page(result);
  if (what == "lens") body = fact_head(result) + lens_section(result);
  if (what == "sweep") body = sweep_section(result);
  if (what == "neurons") {
    const Json facts = result.value("facts", Json::array({result}));
    for (const Json& fact : facts) body += fact_head(fact) + neurons_section(fact);
  }
  body += fmt::format("<p>{:.1f} s, seed {}.</p>\n", result["seconds"].get<double>(),
                      dump_json(result["seed"]));
  write_file(path, html_page("lancet locate " + what, body));
}

}  // namespace lancet
