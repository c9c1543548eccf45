#pragma once
// Curves over steps as SVG.

#include <string>
#include <utility>
#include <vector>

namespace lancet {

struct ChartCurve {
  std::string name;
  std::vector<std::pair<double, double>> points;  ///< ascending x; values that are not finite are
                                                  ///< left out
  bool dots = false;                              ///< drawn as dots joined by a thin line
};

struct CurveChart {
  std::string title, unit;
  std::vector<ChartCurve> curves;
};

/// Axes with round numbers, at most 600 points a curve (means of equal runs of steps); a sentence
/// where there is nothing to draw.
[[nodiscard]] std::string draw_curves(const CurveChart& chart);

}  // namespace lancet
