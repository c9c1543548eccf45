#pragma once
// The verbs of `lancet locate`, each in its verb_*.cpp.

#include "core/json.h"
#include "model/requests.h"
#include "surgery/edit_session.h"
#include "surgery/locate/arrays.h"
#include "surgery/locate/requests.h"

namespace lancet {

/// What one verb found.
struct Located {
  Json json;
  Arrays arrays;
};
using LocateVerb = Located(const SurgeryModel& model, const LocateRequest& request,
                           const RuntimeOptions& runtime);
LocateVerb locate_trace, locate_patch, locate_lens, locate_sweep, locate_neurons;

/// One HTML file: heat maps of tokens x layers, curves by token role, tables. `result` is the JSON.
void save_locate_report(const fs::path& path, const Json& result);

}  // namespace lancet
