#include "distill/train/curves.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "core/svg.h"

namespace lancet {
namespace {

constexpr double kWidth = 720, kHeight = 220, kLeft = 74, kRight = 12, kTop = 28, kBottom = 26;
constexpr std::size_t kPoints = 600;
constexpr const char* kColours[] = {"#31688e", "#d95f02", "#35b779", "#7b3294"};

using Points = std::vector<std::pair<double, double>>;

Points finite(const Points& points) {
  Points out;
  std::copy_if(points.begin(), points.end(), std::back_inserter(out), [](const auto& point) {
    return std::isfinite(point.first) && std::isfinite(point.second);
  });
  return out;
}

/// Means of equal runs of points, at most kPoints of them.
Points thinned(const Points& points) {
  const std::size_t run = (points.size() + kPoints - 1) / kPoints;
  if (run <= 1) return points;
  Points out;
  for (std::size_t begin = 0; begin < points.size(); begin += run) {
    const std::size_t end = std::min(begin + run, points.size());
    double x = 0, y = 0;
    for (std::size_t i = begin; i < end; ++i) {
      x += points[i].first;
      y += points[i].second;
    }
    const auto count = static_cast<double>(end - begin);
    out.emplace_back(x / count, y / count);
  }
  return out;
}

struct Axis {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  double step = 1;

  void take(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  /// Ends on multiples of a step of 1, 2 or 5 times a power of ten.
  void round(int ticks) {
    if (!(high > low)) {
      const double margin = std::max(std::abs(high) * 0.1, 1e-12);
      low -= margin;
      high += margin;
    }
    const double raw = (high - low) / ticks;
    const double power = std::pow(10.0, std::floor(std::log10(raw)));
    const double lead = raw / power;
    step = power * (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 5 ? 5 : 10);
    low = std::floor(low / step + 1e-9) * step;
    high = std::ceil(high / step - 1e-9) * step;
  }
  [[nodiscard]] double share(double value) const { return (value - low) / (high - low); }
};

double at_x(const Axis& axis, double x) {
  return kLeft + axis.share(x) * (kWidth - kLeft - kRight);
}
double at_y(const Axis& axis, double y) {
  return kHeight - kBottom - axis.share(y) * (kHeight - kTop - kBottom);
}

void draw_axes(Svg& svg, const Axis& x, const Axis& y) {
  const auto count = [](const Axis& axis) {
    return static_cast<int>(std::lround((axis.high - axis.low) / axis.step));
  };
  for (int i = 0; i <= count(y); ++i) {
    const double value = y.low + i * y.step;
    svg.line(kLeft, at_y(y, value), kWidth - kRight, at_y(y, value), "#e4e4e4");
    svg.text(kLeft - 6, at_y(y, value) + 4, fmt::format("{:.4g}", value), 11, "end", "#555");
  }
  for (int i = 0; i <= count(x); ++i) {
    const double value = x.low + i * x.step;
    svg.text(at_x(x, value), kHeight - 8, fmt::format("{:.6g}", value), 11, "middle", "#555");
  }
}

}  // namespace

std::string draw_curves(const CurveChart& chart) {
  std::vector<Points> drawn;
  Axis x, y;
  for (const ChartCurve& curve : chart.curves) {
    drawn.push_back(thinned(finite(curve.points)));
    for (const auto& [px, py] : drawn.back()) {
      x.take(px);
      y.take(py);
    }
  }
  const std::string heading = chart.title + (chart.unit.empty() ? "" : " (" + chart.unit + ")");
  if (!(x.high >= x.low)) return "<p>" + html_escape(heading) + ": nothing recorded.</p>";
  x.round(8);
  y.round(4);
  Svg svg(kWidth, kHeight);
  svg.text(kLeft, 16, heading, 13);
  draw_axes(svg, x, y);
  double legend = kWidth - kRight;
  for (std::size_t c = drawn.size(); c-- > 0;) {
    const char* colour = kColours[c % std::size(kColours)];
    Points line;
    for (const auto& [px, py] : drawn[c]) line.emplace_back(at_x(x, px), at_y(y, py));
    if (line.size() > 1) svg.polyline(line, colour, chart.curves[c].dots ? 1 : 1.5);
    for (const auto& [px, py] : line) {
      if (chart.curves[c].dots || line.size() == 1) svg.rect(px - 2.5, py - 2.5, 5, 5, colour);
    }
    if (drawn.size() > 1) {
      svg.text(legend, 16, chart.curves[c].name, 12, "end", colour);
      legend -= 7.0 * static_cast<double>(chart.curves[c].name.size()) + 16;
    }
  }
  return svg.str();
}

}  // namespace lancet
