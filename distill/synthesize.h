#pragma once
// `lancet synthesize`: seeds through a recipe and a teacher to a dataset.

#include "core/json.h"
#include "distill/requests.h"

namespace lancet {

/// Writes request.output (JSON lines: rows in the order of the seeds, each with its provenance) and
/// its lancet.json; keeps what was answered in OUT.journal beside it. Returns what `--json` prints.
/// With `plan` nothing is asked and nothing written.
[[nodiscard]] Json synthesize(const SynthesizeRequest& request);

}  // namespace lancet
