#pragma once
// Second moments on disk: half-done sums, and finished means for `edit --covariance`.

#include "core/file.h"
#include "surgery/statistics/collect.h"

namespace lancet {

/// Sums as they stand, with `identity`: another run of the same identity goes on from them.
void save_moments(const fs::path& path, const Moments& moments, const Json& identity);
/// What save_moments wrote; nothing (no layers) where there is no file, and with a warning where it
/// belongs to another run or is damaged.
[[nodiscard]] Moments load_moments(const fs::path& path, const std::vector<std::int64_t>& layers,
                                   const Json& identity);

/// E[k k^T] of each layer as a float64 tensor "NAME.second_moment" with `names` the modules' names;
/// metadata: tokens, documents, identity. `edit --covariance` finds a layer by its name. Returns
/// the file's SHA-256.
std::string save_covariances(const fs::path& path, const Moments& moments,
                             const std::vector<std::string>& names, const Json& identity);
/// ROME's statistics, one file for each layer: NAME_float32_mom2_DOCUMENTS.npz with the sums.
[[nodiscard]] std::vector<fs::path> export_covariances(const fs::path& folder,
                                                       const Moments& moments,
                                                       const std::vector<std::string>& names);

}  // namespace lancet
