// `lancet covariance`.
#include "cli/engine/engine_impl.h"
#include "surgery/statistics/run.h"

namespace lancet {

Json EngineImpl::covariance(const CovarianceRequest& request, const RuntimeOptions& runtime) {
  prepare_runtime(runtime);
  return run_covariance(request, runtime);
}

}  // namespace lancet
