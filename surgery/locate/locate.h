#pragma once
// `lancet locate`: where in the model a fact is recalled.

#include "core/json.h"
#include "model/requests.h"
#include "surgery/locate/requests.h"

namespace lancet {

/// The JSON of `locate ... --json`; writes --report and --npz. Errors of a prompt are kUsage; in a
/// batch such facts are left out and listed under "skipped".
[[nodiscard]] Json run_locate(const LocateRequest& request, const RuntimeOptions& runtime);

}  // namespace lancet
