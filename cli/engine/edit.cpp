// `lancet edit`.
#include "surgery/edit.h"

#include "cli/engine/engine_impl.h"

namespace lancet {

Json EngineImpl::edit(const EditRequest& request, const RuntimeOptions& runtime, Json& partial) {
  prepare_runtime(runtime);
  return run_edit(request, runtime, partial);
}

}  // namespace lancet
