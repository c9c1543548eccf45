#include "formats/layer_map.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>

#include <fmt/format.h>

namespace lancet {

std::pair<int, std::string> split_layer(std::string_view name) {
  for (std::size_t dot = name.find('.'); dot != name.npos; dot = name.find('.', dot + 1)) {
    std::size_t end = dot + 1;
    while (end < name.size() && std::isdigit(static_cast<unsigned char>(name[end])) != 0) ++end;
    if (end > dot + 1 && end - dot < 7 && end < name.size() && name[end] == '.') {
      return {std::stoi(std::string(name.substr(dot + 1, end - dot - 1))),
              std::string(name.substr(end + 1))};
    }
  }
  return {-1, std::string(name)};
}

HeatMap layer_map(std::string title, std::string unit,
                  const std::vector<std::pair<std::string, double>>& values) {
  HeatMap map{.title = std::move(title), .unit = std::move(unit)};
  std::map<int, std::map<std::string, double>> cells;
  for (const auto& [name, value] : values) {
    auto [layer, module] = split_layer(name);
    if (std::ranges::find(map.columns, module) == map.columns.end()) map.columns.push_back(module);
    cells[layer][std::move(module)] = value;
  }
  for (const auto& [layer, row] : cells) {
    map.rows.push_back(layer < 0 ? "outside layers" : fmt::format("layer {}", layer));
    std::vector<double> cells_of_row;
    for (const std::string& module : map.columns) {
      const auto found = row.find(module);
      cells_of_row.push_back(found == row.end() ? std::nan("") : found->second);
    }
    map.values.push_back(std::move(cells_of_row));
  }
  return map;
}

}  // namespace lancet
