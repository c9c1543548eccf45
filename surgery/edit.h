#pragma once
// `lancet edit` and `lancet probe`: plan, write in memory, prove, guard, write.

#include <cstdint>
#include <string>
#include <vector>

#include "core/json.h"
#include "model/requests.h"
#include "surgery/requests.h"

namespace lancet {

/// The JSON of `edit --json`, or of --plan. kGoal after filling `partial` (the same JSON) when a
/// fact fails or a guard stops the write; with request.guards false the outputs are written all the
/// same, and only a failed fact is kGoal.
[[nodiscard]] Json run_edit(const EditRequest& request, const RuntimeOptions& runtime,
                            Json& partial);

/// The JSON of `edit --plan`: headers only.
[[nodiscard]] Json plan_edit(const EditRequest& request, const RuntimeOptions& runtime);

/// The JSON of `probe --json`.
[[nodiscard]] Json run_probe(const ProbeRequest& request, const RuntimeOptions& runtime);

}  // namespace lancet
