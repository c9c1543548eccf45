#pragma once
// A small SVG writer and the self-contained HTML page around it. All text is escaped.

#include <string>
#include <string_view>
#include <vector>

namespace lancet {

class Svg {
 public:
  Svg(double width, double height);
  Svg& rect(double x, double y, double width, double height, std::string_view fill,
            std::string_view title = {});
  Svg& line(double x1, double y1, double x2, double y2, std::string_view stroke,
            double stroke_width = 1);
  Svg& polyline(const std::vector<std::pair<double, double>>& points, std::string_view stroke,
                double stroke_width = 1.5);
  /// anchor: "start", "middle" or "end".
  Svg& text(double x, double y, std::string_view text, double size = 12,
            std::string_view anchor = "start", std::string_view fill = "#222");
  /// Text turned by 90 degrees, ending (reading upwards) at (x, y).
  Svg& upright_text(double x, double y, std::string_view text, double size = 12);
  [[nodiscard]] std::string str() const;

 private:
  double width_, height_;
  std::string body_;
};

/// Colour-blind safe sequential scale (viridis), t in [0, 1] -> "#rrggbb".
[[nodiscard]] std::string viridis(double t);
[[nodiscard]] std::string html_escape(std::string_view text);
/// One HTML file without external references; `body` is trusted HTML.
[[nodiscard]] std::string html_page(std::string_view title, std::string_view body);

struct HeatMap {
  std::string title;
  std::vector<std::string> rows, columns;   ///< labels
  std::vector<std::vector<double>> values;  ///< [rows][columns]; NaN = empty cell
  std::string unit;                         ///< legend
};
[[nodiscard]] std::string draw_heat_map(const HeatMap& map);

}  // namespace lancet
