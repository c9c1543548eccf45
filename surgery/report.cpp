// The HTML pages of `edit --report` and `probe --report`: one file, no scripts, no outside
// references.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/svg.h"
#include "surgery/edit_session.h"

namespace lancet {
namespace {

std::string cell(const Json& value) {
  if (value.is_null()) return "<td>&ndash;</td>";
  if (value.is_boolean()) return value.get<bool>() ? "<td>yes</td>" : "<td><b>no</b></td>";
  if (value.is_number_float()) return fmt::format("<td>{:.4g}</td>", value.get<double>());
  if (value.is_object()) {
    std::string list;
    for (const auto& [key, each] : value.items())
      list += fmt::format("{}{}: {}", list.empty() ? "" : ", ", html_escape(key),
                          each.is_number() ? fmt::format("{:.4g}", each.get<double>())
                                           : html_escape(dump_json(each)));
    return "<td>" + list + "</td>";
  }
  return "<td>" + html_escape(value.is_string() ? value.get<std::string>() : dump_json(value)) +
         "</td>";
}

std::string row(const std::vector<Json>& values) {
  std::string out = "<tr>";
  for (const Json& value : values) out += cell(value);
  return out + "</tr>\n";
}

std::string header(const std::vector<std::string>& titles) {
  std::string out = "<tr>";
  for (const std::string& title : titles) out += "<th>" + html_escape(title) + "</th>";
  return out + "</tr>\n";
}

/// Total, NLL and KL over the passes of one fact.
std::string loss_curve(const FactTrace& trace) {
  constexpr double kWidth = 520, kHeight = 180, kLeft = 46, kTop = 24, kBottom = 24;
  const at::Tensor losses = trace.losses.contiguous();
  const std::int64_t steps = losses.size(0);
  const double highest = std::max(1e-9, losses.narrow(1, 0, 1).max().item<double>());
  Svg svg(kWidth, kHeight);
  svg.text(kLeft, 14, "loss of '" + trace.id + "': total (dark), NLL (blue), KL (orange)", 12);
  svg.line(kLeft, kTop, kLeft, kHeight - kBottom, "#888")
      .line(kLeft, kHeight - kBottom, kWidth - 8, kHeight - kBottom, "#888");
  svg.text(kLeft - 4, kTop + 8, fmt::format("{:.2f}", highest), 10, "end")
      .text(kLeft - 4, kHeight - kBottom, "0", 10, "end");
  svg.text(kWidth - 8, kHeight - 8, fmt::format("{} passes", steps), 10, "end");
  const char* colors[] = {"#222222", "#0072b2", "#e69f00"};
  for (std::int64_t term = 0; term < 3; ++term) {
    std::vector<std::pair<double, double>> points;
    for (std::int64_t s = 0; s < steps; ++s) {
      const double value = losses[s][term].item<double>();
      points.emplace_back(kLeft + (kWidth - kLeft - 8) * static_cast<double>(s) /
                                      std::max(1.0, static_cast<double>(steps - 1)),
                          kHeight - kBottom - (kHeight - kTop - kBottom) * value / highest);
    }
    svg.polyline(points, colors[term]);
  }
  return svg.str();
}

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    if (end > at) out.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

/// `text` with the words marked that are no part of its longest common subsequence with `other`.
std::string marked(const std::string& text, const std::string& other) {
  const auto a = words_of(text), b = words_of(other);
  std::vector<std::vector<std::size_t>> length(a.size() + 1,
                                               std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = a.size(); i-- > 0;) {
    for (std::size_t j = b.size(); j-- > 0;)
      length[i][j] =
          a[i] == b[j] ? length[i + 1][j + 1] + 1 : std::max(length[i + 1][j], length[i][j + 1]);
  }
  std::string out;
  for (std::size_t i = 0, j = 0; i < a.size();) {
    const bool same = j < b.size() && a[i] == b[j];
    if (!same && j < b.size() && length[i][j + 1] >= length[i + 1][j]) {
      ++j;
      continue;
    }
    const std::string word = html_escape(a[i++]);
    out += (out.empty() ? "" : " ") + (same ? word : "<mark>" + word + "</mark>");
    if (same) ++j;
  }
  return out;
}

std::string pairs_table(const Json& object) {
  std::string out = "<table>\n";
  for (const auto& [name, value] : object.items()) out += row({Json(name), value});
  return out + "</table>\n";
}

}  // namespace

void save_report(const fs::path& path, const Json& result, const EditPlan& plan) {
  std::string body = fmt::format(
      "<p>Method <b>{}</b>, layers {} ({}), {:.1f} s.</p>\n<h2>Facts</h2>\n<table>\n",
      html_escape(result["method"].get<std::string>()), html_escape(dump_json(result["layers"])),
      html_escape(result["layer_reason"].get<std::string>()), result["seconds"].get<double>());
  body +=
      header({"id", "ok", "prompt", "before", "after", "p(target) before", "after", "paraphrases",
              "neighbours", "their text", "leak", "relative norm (layer: norm)"});
  for (const Json& edit : result["edits"]) {
    body +=
        row({edit["id"], edit["ok"], edit["prompt"], edit["before"]["text"], edit["after"]["text"],
             edit["before"]["p_target"], edit["after"]["p_target"], edit["paraphrase"],
             edit["neighborhood"], edit["neighborhood_text"], edit["leak"], edit["rel_norm"]});
  }
  body += "</table>\n<h2>Guards</h2>\n" + pairs_table(result["guards"]);
  body += "<h2>Optimisation</h2>\n";
  for (const FactTrace& trace : plan.traces) body += loss_curve(trace) + "\n";
  body += "<h2>Seconds</h2>\n" + pairs_table(result["timings"]);
  write_file(path, html_page("lancet edit", body));
}

void save_probe_report(const fs::path& path, const Json& result) {
  const Json& mean = result["mean"];
  std::string body = "<p>" + html_escape(result["convention"].get<std::string>()) + "</p>\n";
  body += "<h2>Means</h2>\n<table>\n" + header({"metric", "mean", "95 % from", "to"});
  for (const auto& [name, value] : mean.items()) {
    if (value.is_null()) continue;
    const Json range = result["interval"].value(name, Json::array({nullptr, nullptr}));
    body += row({Json(name), value, range[0], range[1]});
  }
  body += "</table>\n";
  if (!result["checks"].empty()) {
    body += "<h2>Checks</h2>\n<table>\n" +
            header({"group", "tests", "free generation", "teacher-forced"});
    for (const auto& [group, score] : result["checks"].items())
      body += row({Json(group), score["tests"], score["free"], score["teacher_forced"]});
    body += "</table>\n";
  }
  body += "<h2>What the model says</h2>\n<p>Words that differ are marked.</p>\n<table>\n" +
          header({"id", "prompt", "target", "before", "after"});
  std::vector<std::string> titles;
  for (const Json& fact : result["facts"]) {
    const std::string after = fact["text"].get<std::string>(),
                      before = fact.value("text_base", std::string());
    body += "<tr>" + cell(fact["id"]) + cell(fact["prompt"]) + cell(fact["target"]) + "<td>" +
            marked(before, after) + "</td><td>" + marked(after, before) + "</td></tr>\n";
  }
  body += "</table>\n<h2>Facts</h2>\n<table>\n";
  for (const auto& [name, value] : result["facts"].front().items()) {
    if (!name.starts_with("text") && name != "prompt" && name != "target") titles.push_back(name);
  }
  body += header(titles);
  for (const Json& fact : result["facts"]) {
    std::vector<Json> values;
    values.reserve(titles.size());
    for (const std::string& title : titles) values.push_back(fact.value(title, Json()));
    body += row(values);
  }
  write_file(path, html_page("lancet probe", body + "</table>\n"));
}

}  // namespace lancet
