#pragma once
// Pieces of the reports of `locate`: tables and curves as HTML and SVG.

#include <string>
#include <vector>

#include "core/json.h"

namespace lancet {

/// Cells are escaped text; columns in which every cell is a number stand to the right.
[[nodiscard]] std::string html_table(const std::vector<std::string>& titles,
                                     const std::vector<std::vector<Json>>& rows);

struct Curve {
  std::string name;
  std::vector<double> values;   ///< NaN = a gap
  std::vector<double> margins;  ///< empty = no band
};
/// Curves over 0, 1, 2, ... with their bands; at most five, in colours and dashes that print.
[[nodiscard]] std::string draw_curves(const std::string& title, const std::string& x_title,
                                      const std::vector<Curve>& curves);

}  // namespace lancet
