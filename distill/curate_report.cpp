#include "distill/curate_report.h"

#include <fmt/format.h>

#include "core/svg.h"

namespace lancet {
namespace {

std::string cell(const std::string& text) { return "<td>" + html_escape(text) + "</td>"; }
std::string cell(std::uint64_t number) {
  return fmt::format("<td style=\"text-align:right\">{}</td>", number);
}

std::string filter_table(const Json& filters) {
  std::string body =
      "<table><tr><th>filter</th><th>settings</th><th>seen</th><th>dropped</th><th>share</"
      "th><th>by rule</th></tr>";
  for (const Json& filter : filters) {
    std::string rules;
    for (const auto& [rule, count] : filter["rules"].items())
      rules += fmt::format("{}: {}; ", rule, count.dump());
    const auto seen = filter["seen"].get<std::uint64_t>(),
               dropped = filter["dropped"].get<std::uint64_t>();
    body += "<tr>" + cell(filter["name"].get<std::string>()) + cell(filter["settings"].dump()) +
            cell(seen) + cell(dropped) +
            cell(seen == 0 ? ""
                           : fmt::format("{:.1f} %", 100.0 * static_cast<double>(dropped) /
                                                         static_cast<double>(seen))) +
            cell(rules) + "</tr>";
  }
  return body + "</table>";
}

std::string sample_lists(const Json& filters) {
  std::string body;
  for (const Json& filter : filters) {
    if (filter["samples"].empty()) continue;
    body += fmt::format("<details><summary>{}: {} of {} dropped rows</summary>",
                        html_escape(filter["name"].get<std::string>()), filter["samples"].size(),
                        filter["dropped"].dump());
    for (const Json& sample : filter["samples"]) {
      body += fmt::format("<p><b>{}</b> {} {}</p><pre style=\"white-space:pre-wrap\">{}</pre>",
                          html_escape(sample["row"].get<std::string>()),
                          html_escape(sample["rule"].get<std::string>()),
                          html_escape(sample["detail"].get<std::string>()),
                          html_escape(sample["text"].get<std::string>()));
    }
    if (!filter["details"].empty()) body += "<p>" + html_escape(filter["details"].dump()) + "</p>";
    body += "</details>";
  }
  return body;
}

/// Two bars for each length: rows read, and of these the rows written.
std::string length_chart(const Json& before, const Json& after) {
  std::uint64_t most = 1;
  for (const Json& bin : before) most = std::max(most, bin["rows"].get<std::uint64_t>());
  constexpr double kStep = 56, kHeight = 160;
  Svg svg(kStep * static_cast<double>(before.size()) + 20, kHeight + 40);
  double x = 10;
  for (const Json& bin : before) {
    const auto rows = bin["rows"].get<std::uint64_t>();
    std::uint64_t kept = 0;
    for (const Json& other : after) {
      if (other["from"] == bin["from"]) kept = other["rows"].get<std::uint64_t>();
    }
    const auto bar = [&](double at, std::uint64_t count, std::string_view fill) {
      const double height = kHeight * static_cast<double>(count) / static_cast<double>(most);
      svg.rect(at, 10 + kHeight - height, 20, height, fill, fmt::format("{} rows", count));
    };
    bar(x, rows, "#bbb");
    bar(x + 22, kept, "#31688e");
    svg.text(x + 21, kHeight + 26, bin["from"].dump(), 11, "middle");
    x += kStep;
  }
  return svg.str();
}

}  // namespace

std::string curate_page(const Json& result) {
  const Json& filters = result["filters"];
  std::string body =
      fmt::format("<h1>{}</h1><p>{} rows read, {} written, {} bad.</p>",
                  html_escape(result["output"].get<std::string>()), result["rows_read"].dump(),
                  result["rows_written"].dump(), result["bad_rows"].dump());
  body += "<h2>Filters</h2>" + filter_table(filters);
  body += "<h2>Lengths of rows in bytes of text, read (grey) and written (blue)</h2>" +
          length_chart(result["lengths"]["read"], result["lengths"]["written"]);
  body += "<h2>Samples of what was dropped</h2>" + sample_lists(filters);
  if (!result["bad"].empty()) {
    body += "<h2>Bad rows</h2><ul>";
    for (const Json& message : result["bad"])
      body += "<li>" + html_escape(message.get<std::string>()) + "</li>";
    body += "</ul>";
  }
  if (result.contains("licence"))
    body += "<h2>Licence</h2><pre>" + html_escape(result["licence"].dump(2)) + "</pre>";
  return html_page("lancet curate", body);
}

}  // namespace lancet
