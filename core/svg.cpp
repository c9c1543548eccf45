#include "core/svg.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"

namespace lancet {
namespace {

/// Viridis at t = 0, 1/16, ..., 1 (matplotlib's table, CC0).
constexpr std::array<std::array<int, 3>, 17> kViridis{{{68, 1, 84},
                                                       {72, 24, 106},
                                                       {71, 45, 123},
                                                       {66, 64, 134},
                                                       {59, 82, 139},
                                                       {51, 99, 141},
                                                       {44, 114, 142},
                                                       {38, 130, 142},
                                                       {33, 145, 140},
                                                       {31, 160, 136},
                                                       {40, 174, 128},
                                                       {63, 188, 115},
                                                       {94, 201, 98},
                                                       {132, 212, 75},
                                                       {173, 220, 48},
                                                       {216, 226, 25},
                                                       {253, 231, 37}}};

constexpr std::string_view kStyle = R"(
:root { color-scheme: light }
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; margin: 2rem auto;
       max-width: 72rem; padding: 0 1rem }
h1, h2, h3 { line-height: 1.2 }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: left;
         vertical-align: top }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
pre, code { font: 13px/1.4 ui-monospace, monospace; white-space: pre-wrap }
svg { max-width: 100%; height: auto }
@media print { body { margin: 0; max-width: none } svg, tr { break-inside: avoid }
               * { print-color-adjust: exact; -webkit-print-color-adjust: exact } }
)";

/// At most two decimals; values that are not finite become 0.
std::string number(double value) {
  if (!std::isfinite(value)) value = 0;
  std::string text = fmt::format("{:.2f}", value);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.')) text.pop_back();
  return text == "-0" ? "0" : text;
}

double label_width(const std::vector<std::string>& labels) {
  std::size_t longest = 0;
  for (const std::string& label : labels) longest = std::max(longest, label.size());
  return static_cast<double>(std::min<std::size_t>(longest, 40)) * 6.6;
}

struct Range {
  double low = 0, high = 0;
  bool empty = true;
  double position(double value) const { return high > low ? (value - low) / (high - low) : 0.5; }
};

/// Range of the finite values; throws if a row does not fit the labels.
Range value_range(const HeatMap& map) {
  if (map.values.size() != map.rows.size()) {
    fail(ErrorKind::kInternal, "heat map",
         fmt::format("{} rows of values, {} labels", map.values.size(), map.rows.size()));
  }
  Range range;
  for (const auto& row : map.values) {
    if (row.size() != map.columns.size()) {
      fail(ErrorKind::kInternal, "heat map",
           fmt::format("a row of {} values, {} labels", row.size(), map.columns.size()));
    }
    for (const double value : row) {
      if (!std::isfinite(value)) continue;
      range.low = range.empty ? value : std::min(range.low, value);
      range.high = range.empty ? value : std::max(range.high, value);
      range.empty = false;
    }
  }
  return range;
}

constexpr double kCell = 22, kTop = 34, kLegend = 46;

void draw_cells(Svg& svg, const HeatMap& map, const Range& range, double left) {
  for (std::size_t r = 0; r < map.rows.size(); ++r) {
    const double y = kTop + kCell * static_cast<double>(r);
    svg.text(left - 6, y + kCell * 0.68, map.rows[r], 11, "end");
    for (std::size_t c = 0; c < map.columns.size(); ++c) {
      const double value = map.values[r][c];
      const bool empty = !std::isfinite(value);
      const std::string title =
          empty ? fmt::format("{}, {}: none", map.rows[r], map.columns[c])
                : fmt::format("{}, {}: {:.6g} {}", map.rows[r], map.columns[c], value, map.unit);
      svg.rect(left + kCell * static_cast<double>(c), y, kCell - 1, kCell - 1,
               empty ? "#eee" : viridis(range.position(value)), title);
    }
  }
}

void draw_legend(Svg& svg, const HeatMap& map, const Range& range, double left, double top) {
  constexpr int kSteps = 40;
  for (int i = 0; i < kSteps; ++i) {
    svg.rect(left + 4.0 * i, top, 4.2, 10, viridis(static_cast<double>(i) / (kSteps - 1)));
  }
  const std::string low = range.empty ? "-" : fmt::format("{:.4g}", range.low);
  const std::string high = range.empty ? "-" : fmt::format("{:.4g}", range.high);
  svg.text(left, top + 24, low, 11);
  svg.text(left + 4.0 * kSteps, top + 24, high, 11, "end");
  svg.text(left + 4.0 * kSteps + 10, top + 9, map.unit, 11);
}

}  // namespace

Svg::Svg(double width, double height) : width_(width), height_(height) {}

Svg& Svg::rect(double x, double y, double width, double height, std::string_view fill,
               std::string_view title) {
  body_ += fmt::format(R"(<rect x="{}" y="{}" width="{}" height="{}" fill="{}")", number(x),
                       number(y), number(width), number(height), html_escape(fill));
  body_ += title.empty() ? "/>\n" : fmt::format("><title>{}</title></rect>\n", html_escape(title));
  return *this;
}

Svg& Svg::line(double x1, double y1, double x2, double y2, std::string_view stroke,
               double stroke_width) {
  body_ += fmt::format(R"(<line x1="{}" y1="{}" x2="{}" y2="{}" stroke="{}" stroke-width="{}"/>)",
                       number(x1), number(y1), number(x2), number(y2), html_escape(stroke),
                       number(stroke_width));
  body_ += '\n';
  return *this;
}

Svg& Svg::polyline(const std::vector<std::pair<double, double>>& points, std::string_view stroke,
                   double stroke_width) {
  std::string list;
  for (const auto& [x, y] : points) {
    list += fmt::format("{}{},{}", list.empty() ? "" : " ", number(x), number(y));
  }
  body_ += fmt::format(R"(<polyline points="{}" fill="none" stroke="{}" stroke-width="{}"/>)", list,
                       html_escape(stroke), number(stroke_width));
  body_ += '\n';
  return *this;
}

Svg& Svg::text(double x, double y, std::string_view text, double size, std::string_view anchor,
               std::string_view fill) {
  body_ += fmt::format(R"(<text x="{}" y="{}" font-size="{}" text-anchor="{}" fill="{}">{}</text>)",
                       number(x), number(y), number(size), html_escape(anchor), html_escape(fill),
                       html_escape(text));
  body_ += '\n';
  return *this;
}

Svg& Svg::upright_text(double x, double y, std::string_view text, double size) {
  body_ += fmt::format(
      R"svg(<text transform="translate({},{}) rotate(-90)" font-size="{}" text-anchor="end" )svg"
      R"(fill="#222">{}</text>)",
      number(x), number(y), number(size), html_escape(text));
  body_ += '\n';
  return *this;
}

std::string Svg::str() const {
  return fmt::format(
      R"(<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}" )"
      R"(font-family="system-ui, sans-serif">)"
      "\n{2}</svg>\n",
      number(width_), number(height_), body_);
}

std::string viridis(double t) {
  const double scaled =
      (t >= 0 ? std::min(t, 1.0) : 0.0) * static_cast<double>(kViridis.size() - 1);
  const auto index = std::min(static_cast<std::size_t>(scaled), kViridis.size() - 2);
  const double rest = scaled - static_cast<double>(index);
  std::array<int, 3> colour{};
  for (std::size_t i = 0; i < 3; ++i) {
    const double from = kViridis[index][i];
    colour[i] = static_cast<int>(std::lround(from + rest * (kViridis[index + 1][i] - from)));
  }
  return fmt::format("#{:02x}{:02x}{:02x}", colour[0], colour[1], colour[2]);
}

std::string html_escape(std::string_view text) {
  std::string out;
  for (const char c : utf8_lossy(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:  // XML has no way to write most control characters
        if (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') {
          out += "\xEF\xBF\xBD";
        } else {
          out += c;
        }
    }
  }
  return out;
}

std::string html_page(std::string_view title, std::string_view body) {
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>{0}</title>\n<style>{1}</style>\n</head>\n<body>\n<h1>{0}</h1>\n{2}\n"
      "</body>\n</html>\n",
      html_escape(title), kStyle, body);
}

std::string draw_heat_map(const HeatMap& map) {
  const Range range = value_range(map);
  const double left = 16 + label_width(map.rows);
  const double grid_height = kCell * static_cast<double>(map.rows.size());
  const double names = label_width(map.columns) + 14;  // column labels stand upright
  const double cells = kCell * static_cast<double>(map.columns.size());
  const double title = 7.5 * static_cast<double>(map.title.size());
  const double width = left + std::max({cells, title, 260.0}) + 16;
  Svg svg(width, kTop + grid_height + names + kLegend);
  svg.text(left, 20, map.title, 14);
  draw_cells(svg, map, range, left);
  for (std::size_t c = 0; c < map.columns.size(); ++c) {
    svg.upright_text(left + kCell * (static_cast<double>(c) + 0.65), kTop + grid_height + 6,
                     map.columns[c], 11);
  }
  draw_legend(svg, map, range, left, kTop + grid_height + names);
  return svg.str();
}

}  // namespace lancet
