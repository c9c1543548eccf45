#pragma once
// Values of a model's tensors drawn as a map of layers x modules.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/svg.h"

namespace lancet {

/// "model.layers.12.mlp.down_proj.weight" -> (12, "mlp.down_proj.weight"); (-1, name) without a
/// layer.
[[nodiscard]] std::pair<int, std::string> split_layer(std::string_view name);

/// Rows: layers, the tensors outside them first. Columns: modules in the order of their first
/// appearance. Cells without a tensor are empty.
[[nodiscard]] HeatMap layer_map(std::string title, std::string unit,
                                const std::vector<std::pair<std::string, double>>& values);

}  // namespace lancet
