#include "surgery/locate/page.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/error.h"
#include "core/svg.h"

namespace lancet {
namespace {

constexpr const char* kColors[] = {"#0072b2", "#d55e00", "#222222", "#009e73", "#cc79a7"};
constexpr double kWidth = 640, kHeight = 260, kLeft = 60, kTop = 30, kBottom = 40, kRight = 150;

std::string cell_text(const Json& value) {
  if (value.is_null()) return "&ndash;";
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_number_float()) return fmt::format("{:.4g}", value.get<double>());
  return html_escape(value.is_string() ? value.get<std::string>() : dump_json(value));
}

struct Scale {
  double low = 0, high = 0;
  std::size_t count = 1;

  [[nodiscard]] double x(std::size_t i) const {
    return kLeft + (kWidth - kLeft - kRight) * static_cast<double>(i) /
                       std::max(1.0, static_cast<double>(count - 1));
  }
  [[nodiscard]] double y(double value) const {
    return kHeight - kBottom -
           (kHeight - kTop - kBottom) * (value - low) / std::max(1e-12, high - low);
  }
};

Scale scale_of(const std::vector<Curve>& curves) {
  Scale out;
  for (const Curve& curve : curves) {
    out.count = std::max(out.count, curve.values.size());
    for (std::size_t i = 0; i < curve.values.size(); ++i) {
      const double margin =
          curve.margins.empty() || !std::isfinite(curve.margins[i]) ? 0 : curve.margins[i];
      if (!std::isfinite(curve.values[i])) continue;
      out.low = std::min(out.low, curve.values[i] - margin);
      out.high = std::max(out.high, curve.values[i] + margin);
    }
  }
  return out;
}

/// The curve moved by `sign` margins.
std::vector<std::pair<double, double>> points(const Curve& curve, const Scale& scale, double sign) {
  std::vector<std::pair<double, double>> out;
  for (std::size_t i = 0; i < curve.values.size(); ++i) {
    const double value = curve.values[i] + (curve.margins.empty() ? 0 : sign * curve.margins[i]);
    if (std::isfinite(value)) out.emplace_back(scale.x(i), scale.y(value));
  }
  return out;
}

void draw_axes(Svg& svg, const Scale& scale, const std::string& x_title) {
  svg.line(kLeft, kTop, kLeft, kHeight - kBottom, "#888");
  svg.line(kLeft, scale.y(0), kWidth - kRight, scale.y(0), "#888");
  svg.text(kLeft - 6, kTop + 4, fmt::format("{:.3g}", scale.high), 11, "end");
  svg.text(kLeft - 6, scale.y(0) + 4, "0", 11, "end");
  if (scale.low < 0)
    svg.text(kLeft - 6, kHeight - kBottom, fmt::format("{:.3g}", scale.low), 11, "end");
  const std::size_t step = std::max<std::size_t>(1, (scale.count + 7) / 8);
  for (std::size_t i = 0; i < scale.count; i += step)
    svg.text(scale.x(i), kHeight - kBottom + 16, std::to_string(i), 11, "middle");
  svg.text(kWidth - kRight, kHeight - 8, x_title, 11, "end");
}

}  // namespace

std::string html_table(const std::vector<std::string>& titles,
                       const std::vector<std::vector<Json>>& rows) {
  std::vector<bool> numbers(titles.size(), true);
  for (const auto& row : rows) {
    for (std::size_t c = 0; c < row.size(); ++c)
      numbers[c] = numbers[c] && (row[c].is_number() || row[c].is_null());
  }
  const auto mark = [&numbers](std::size_t c) { return numbers[c] ? " class=\"n\"" : ""; };
  std::string out = "<table>\n<tr>";
  for (std::size_t c = 0; c < titles.size(); ++c)
    out += fmt::format("<th{}>{}</th>", mark(c), html_escape(titles[c]));
  out += "</tr>\n";
  for (const auto& row : rows) {
    out += "<tr>";
    for (std::size_t c = 0; c < row.size(); ++c)
      out += fmt::format("<td{}>{}</td>", mark(c), cell_text(row[c]));
    out += "</tr>\n";
  }
  return out + "</table>\n";
}

std::string draw_curves(const std::string& title, const std::string& x_title,
                        const std::vector<Curve>& curves) {
  if (curves.size() > std::size(kColors))
    fail(ErrorKind::kInternal, "report", fmt::format("{} curves in one picture", curves.size()));
  const Scale scale = scale_of(curves);
  Svg svg(kWidth, kHeight);
  svg.text(kLeft, 16, title, 14);
  draw_axes(svg, scale, x_title);
  for (std::size_t c = 0; c < curves.size(); ++c) {
    if (!curves[c].margins.empty()) {
      for (const double sign : {-1.0, 1.0})
        svg.polyline(points(curves[c], scale, sign), kColors[c], 0.6);
    }
    svg.polyline(points(curves[c], scale, 0), kColors[c], 2.2);
    const double y = kTop + 18 * static_cast<double>(c) + 8;
    svg.line(kWidth - kRight + 12, y - 4, kWidth - kRight + 32, y - 4, kColors[c], 2.2);
    svg.text(kWidth - kRight + 38, y, curves[c].name, 11);
  }
  return svg.str();
}

}  // namespace lancet
