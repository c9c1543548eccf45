#pragma once
// The door between the executable and liblancet_factory: teacher client, data recipes, verification
// and filters. It links libcurl with its thirty libraries, which no other command should wait for.

#include "core/json.h"
#include "distill/requests.h"

namespace lancet {

class Factory {
 public:
  virtual ~Factory() = default;
  /// The JSON of `synthesize --json`.
  [[nodiscard]] virtual Json synthesize(const SynthesizeRequest& request) = 0;
  /// A job of `distill` (distill/stages.h).
  [[nodiscard]] virtual Json describe_job(const fs::path& path,
                                          std::optional<std::uint64_t> seed) = 0;
  /// The data recipes, for `list`.
  [[nodiscard]] virtual Json recipes() = 0;
  /// The filters of curate, for `list`: name, title, paper, selects, parameters.
  [[nodiscard]] virtual Json filters() = 0;
  /// The JSON of `curate --json`.
  [[nodiscard]] virtual Json curate(const CurateRequest& request) = 0;
};

/// Loads liblancet_factory beside the executable. Missing: Error(kResource).
[[nodiscard]] Factory& open_factory();

}  // namespace lancet
