#pragma once
// `lancet undo --edit` where other edits were computed together with the one that goes, or on top
// of it: the original bytes come back and the editors write the others again, as if the edit had
// never been.

#include "core/json.h"
#include "model/requests.h"
#include "surgery/requests.h"

namespace lancet {

/// The JSON of `undo --json`; see undo_model(). A stage from the first touched one on is written by
/// its own method, parameters, seed and layers on the model of the stages before it. Values (v*, z)
/// that do not depend on what goes are taken from the ledger: those of the facts written before it
/// or in one batch with it. kInput when a stage's file of second moments is not there any more.
[[nodiscard]] Json undo_edits(const UndoRequest& request, const RuntimeOptions& runtime);

}  // namespace lancet
