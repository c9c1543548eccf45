// `lancet probe`.
#include "cli/engine/engine_impl.h"
#include "surgery/edit.h"

namespace lancet {

Json EngineImpl::probe(const ProbeRequest& request, const RuntimeOptions& runtime) {
  prepare_runtime(runtime);
  return run_probe(request, runtime);
}

}  // namespace lancet
