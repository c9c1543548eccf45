#include "model/load_options.h"

#include <string>

#include "core/error.h"
#include "core/text.h"
#include "model/runtime.h"

namespace lancet {

LoadOptions load_options(const RuntimeOptions& runtime) {
  LoadOptions options;
  options.dtype = resolve_dtype(runtime.dtype);
  options.offload = runtime.offload == "disk";
  if (!options.offload && runtime.offload != "none") {
    fail(ErrorKind::kUsage, "offload",
         "expected none or disk, found '" + printable(runtime.offload) + "'");
  }
  if (options.offload && runtime.device == "auto") return options;  // which is of the CPU
  options.device = resolve_device(runtime.device);
  if (options.offload && !options.device.is_cpu()) {
    fail(ErrorKind::kUsage, "offload",
         "expected --device cpu beside --offload disk, found " + runtime.device);
  }
  return options;
}

WeightSizes weight_sizes(const ModelSource& source, const LoadOptions& options) {
  const std::uint64_t width = options.dtype == at::kBFloat16 ? 2 : 4;
  WeightSizes sizes;
  for (const TensorInfo& tensor : source.checkpoint().tensors()) sizes.stored += tensor.bytes;
  for (const TensorInfo& tensor : source.tensors()) {
    const bool vector = tensor.shape.size() < 2;
    if (options.offload && !vector) continue;
    sizes.loaded += tensor.elements() * (vector ? 4 : width);
  }
  return sizes;
}

}  // namespace lancet
