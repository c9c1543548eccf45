#include "distill/train/page.h"

#include <algorithm>
#include <limits>
#include <set>

#include <fmt/format.h>

#include "core/bytes.h"
#include "core/svg.h"
#include "distill/train/curves.h"

namespace lancet {
namespace {

double number_of(const Json& record, const std::string& key) {
  const auto found = record.find(key);
  return found != record.end() && found->is_number() ? found->get<double>()
                                                     : std::numeric_limits<double>::quiet_NaN();
}

bool is_eval(const Json& record) { return record.contains("eval"); }

ChartCurve curve_of(const std::vector<Json>& records, const std::string& key, bool eval,
                    std::string name) {
  ChartCurve out{.name = std::move(name), .dots = eval};
  for (const Json& record : records) {
    if (is_eval(record) == eval && record.contains(key))
      out.points.emplace_back(number_of(record, "step"), number_of(record, key));
  }
  return out;
}

/// Names of numbers beyond those that every step has, in the order in which they came.
std::vector<std::string> further_names(const std::vector<Json>& records) {
  const std::set<std::string> known{
      "step",    "epoch",   "loss", "lr",         "grad_norm",         "tokens",
      "targets", "seconds", "eval", "perplexity", "tokens_per_second", "peak_memory"};
  std::vector<std::string> out;
  for (const Json& record : records) {
    for (const auto& [name, value] : record.items()) {
      if (known.contains(name) || !value.is_number()) continue;
      if (std::find(out.begin(), out.end(), name) == out.end()) out.push_back(name);
    }
  }
  return out;
}

std::string curves(const std::vector<Json>& records) {
  const auto chart = [&](std::string title, const std::string& key, std::string unit) {
    CurveChart out{.title = std::move(title), .unit = std::move(unit)};
    out.curves.push_back(curve_of(records, key, false, "training"));
    ChartCurve held = curve_of(records, key, true, "held out");
    if (!held.points.empty()) out.curves.push_back(std::move(held));
    return draw_curves(out);
  };
  std::string body = chart("Loss", "loss", "nats a token") + chart("Learning rate", "lr", "") +
                     chart("Norm of the gradient before clipping", "grad_norm", "") +
                     chart("Speed", "tokens_per_second", "tokens a second");
  for (const std::string& name : further_names(records)) {
    const bool coverage = name == "coverage";
    body += chart(coverage ? "Coverage: the teacher's mass on its best tokens" : name, name, "");
  }
  return body;
}

std::string shown(const Json& value) {
  if (value.is_string()) return html_escape(value.get<std::string>());
  if (value.is_number_float()) return fmt::format("{:.5g}", value.get<double>());
  if (value.is_structured()) {  // of settings and results, none deep
    std::string list;
    for (const auto& [key, each] : value.items())
      list += (list.empty() ? "" : ", ") + (value.is_object() ? html_escape(key) + " " : "") +
              shown(each);
    return list;
  }
  return html_escape(value.dump());
}

std::string key_table(const Json& object) {
  std::string body = "<table>";
  for (const auto& [key, value] : object.items()) {
    if (key == "forgetting") continue;  // has tables of its own
    body += "<tr><th>" + html_escape(key) + "</th><td>" +
            (key == "peak_memory" ? human_bytes(value.get<std::uint64_t>()) : shown(value)) +
            "</td></tr>";
  }
  return body + "</table>";
}

std::string sample_table(const std::vector<SampleRecord>& samples) {
  std::string body = "<table><tr><th>prompt</th><th>before</th><th>after</th><th>data</th></tr>";
  for (const SampleRecord& sample : samples) {
    body += "<tr>";
    for (const std::string* text : {&sample.prompt, &sample.before, &sample.after, &sample.wanted})
      body += "<td><pre>" + html_escape(*text) + "</pre></td>";
    body += "</tr>";
  }
  return body + "</table>";
}

std::string forgetting_tables(const Json& forgetting) {
  const Json& perplexity = forgetting["perplexity"];
  std::string body = fmt::format(
      "<p>Perplexity of a text that ships with lancet ({} tokens): {} before, {} after, ratio "
      "{}.</p>",
      shown(perplexity["tokens"]), shown(perplexity["before"]), shown(perplexity["after"]),
      shown(perplexity["ratio"]));
  body +=
      "<table><tr><th>test</th><th class=n>items</th><th class=n>passed before</th><th "
      "class=n>after</th><th class=n>margin before</th><th class=n>after</th></tr>";
  for (const Json& test : forgetting["tests"]) {
    body += "<tr><td>" + shown(test["name"]) + "</td>";
    for (const char* key : {"items", "before", "after", "margin_before", "margin_after"})
      body += "<td class=n>" + shown(test[key]) + "</td>";
    body += "</tr>";
  }
  return body +
         "</table><p>Passed: the right answer is likelier than every wrong one. Margin: nats a "
         "byte by which it is.</p>";
}

}  // namespace

std::string train_page(const RunRecord& run, const std::vector<Json>& records) {
  std::string body = "<h1>" + html_escape(run.title) + "</h1>" + key_table(run.result);
  body += "<h2>Curves</h2>" + curves(records);
  if (!run.forgetting.is_null()) body += "<h2>Forgetting</h2>" + forgetting_tables(run.forgetting);
  if (!run.samples.empty()) body += "<h2>Samples</h2>" + sample_table(run.samples);
  body += "<h2>Data</h2>" + key_table(run.data) + "<h2>Settings</h2>" + key_table(run.settings);
  return html_page("lancet train: " + run.title, body);
}

}  // namespace lancet
