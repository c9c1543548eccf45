// `lancet edit`, and `lancet undo` where it computes.
#include "surgery/edit.h"

#include "cli/engine/engine_impl.h"
#include "surgery/rewrite.h"

namespace lancet {

Json EngineImpl::edit(const EditRequest& request, const RuntimeOptions& runtime, Json& partial) {
  prepare_runtime(runtime);
  return run_edit(request, runtime, partial);
}

Json EngineImpl::undo(const UndoRequest& request, const RuntimeOptions& runtime) {
  prepare_runtime(runtime);
  return undo_edits(request, runtime);
}

}  // namespace lancet
