// `lancet locate`.
#include "surgery/locate/locate.h"

#include "cli/engine/engine_impl.h"

namespace lancet {

Json EngineImpl::locate(const LocateRequest& request, const RuntimeOptions& runtime) {
  prepare_runtime(runtime);
  return run_locate(request, runtime);
}

}  // namespace lancet
