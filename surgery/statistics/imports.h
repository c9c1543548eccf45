#pragma once
// Second moments that another run or the published code collected, as ours.

#include <vector>

#include "core/json.h"
#include "model/decoder.h"
#include "surgery/statistics/collect.h"

namespace lancet {

/// One file for each of `layers`, in their order: a file whose name tells a layer (layer_in_name)
/// goes there, the others by position to what is left. kMismatch for a layer that is not asked for,
/// is told twice, or has no file; kUsage where their number does not fit.
[[nodiscard]] std::vector<fs::path> import_order(const std::vector<fs::path>& files,
                                                 const std::vector<std::int64_t>& layers);

/// The files' means as sums; each must have been counted. `identity` receives what they are.
[[nodiscard]] Moments read_imports(const Decoder& model, const std::vector<fs::path>& files,
                                   const std::vector<std::int64_t>& layers, Json& identity);

}  // namespace lancet
