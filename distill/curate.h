#pragma once
// Rows in, rows that passed every filter out, in their order. Inputs are read once in batches on
// all threads; a selecting filter ends a stage, whose rows wait in an unnamed file beside the
// output. The output depends on inputs, filters and seed only, never on the number of threads.

#include "core/json.h"
#include "distill/requests.h"

namespace lancet {

/// Writes OUT.jsonl, OUT.jsonl.lancet.json and the report; with request.plan nothing. Returns the
/// JSON of `curate --json`, of request.settings_only null. Errors: kUsage (filters, existing
/// output, a file that would be read and written, or written twice, licence), kInput (a missing
/// file; a bad row when request.strict), kResource.
[[nodiscard]] Json curate(const CurateRequest& request);

}  // namespace lancet
