#pragma once
// What trace and patch share: the facts that can be asked, their corrupted runs, and the form of
// the answer.

#include <functional>
#include <string>
#include <vector>

#include "surgery/locate/runs.h"
#include "surgery/locate/verbs.h"

namespace lancet {

/// A map of one fact: float64 [tokens, layers].
struct NamedMap {
  std::string kind;
  std::int64_t window = 1;
  at::Tensor scores;
  at::Tensor effect;  ///< what averages are made of: change of p(target) by restoring
  Json notes;         ///< further fields of the map's JSON, or null
};

struct FactMaps {
  std::vector<NamedMap> maps;
  Json notes;  ///< further fields of the fact's JSON, or null
};
using MapFact = std::function<FactMaps(const LocatePrompt&, const Runs&)>;

/// Asks every fact: corrupts its subject, calls `map`, and puts the answers together:
/// {sigma, noise, samples, <fact>} for one fact, {.., facts, skipped, roles} for a batch.
[[nodiscard]] Located locate_corrupted(const SurgeryModel& model, const LocateRequest& request,
                                       const RuntimeOptions& runtime, const MapFact& map);

/// [[...], ...] of a float64 or int64 matrix.
[[nodiscard]] Json matrix_json(const at::Tensor& matrix);
[[nodiscard]] Json vector_json(const at::Tensor& vector);

}  // namespace lancet
