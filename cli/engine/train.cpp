// `lancet train`.
#include "distill/train/train.h"

#include "cli/engine/engine_impl.h"

namespace lancet {

Json EngineImpl::train(const TrainRequest& request, const RuntimeOptions& runtime,
                       const TrainSink& sink) {
  prepare_runtime(runtime);
  return run_train(request, runtime, sink);
}

}  // namespace lancet
