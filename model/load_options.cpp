#include "model/load_options.h"

#include <string>

#include "core/error.h"
#include "core/log.h"
#include "core/text.h"
#include "model/kernels/gemm.h"
#include "model/kernels/pairs.h"
#include "model/names.h"
#include "model/runtime.h"

namespace lancet {

namespace {

/// Of rows in front of products. On a GPU they are of the dtype of the weights.
RowForm row_form(const RuntimeOptions& runtime, const LoadOptions& options) {
  const bool wide = runtime.activations == "float32", narrow = runtime.activations == "bfloat16";
  if (!wide && !narrow && runtime.activations != "auto") {
    fail(ErrorKind::kUsage, "activations",
         "expected auto, float32 or bfloat16, found '" + printable(runtime.activations) + "'");
  }
  if (narrow && options.dtype != at::kBFloat16) {
    fail(ErrorKind::kUsage, "activations",
         "expected --dtype bfloat16 beside --activations bfloat16, found " + runtime.dtype);
  }
  if (!options.device.is_cpu()) {
    if (wide && options.dtype == at::kBFloat16)
      fail(ErrorKind::kUsage, "activations",
           "expected the CPU for --activations float32 beside --dtype bfloat16, found a GPU");
    return RowForm::kPlain;
  }
  const kernels::PairIsa isa = kernels::best_pair_isa();
  if (narrow && isa != kernels::PairIsa::kAvx512Bf16 && isa != kernels::PairIsa::kAmx)
    log::warn(
        "this processor has no products of bfloat16 pairs: --activations bfloat16 is slower "
        "than float32 here");
  if (narrow) return RowForm::kRounded;
  return !wide && kernels::has_tiles() ? RowForm::kTerms : RowForm::kPlain;
}

}  // namespace

LoadOptions load_options(const RuntimeOptions& runtime) {
  LoadOptions options;
  options.dtype = resolve_dtype(runtime.dtype);
  options.offload = runtime.offload == "disk";
  if (!options.offload && runtime.offload != "none") {
    fail(ErrorKind::kUsage, "offload",
         "expected none or disk, found '" + printable(runtime.offload) + "'");
  }
  // Weights that stay on the disk are of the CPU.
  if (!options.offload || runtime.device != "auto") options.device = resolve_device(runtime.device);
  if (!options.device.is_cpu()) options.rooms = device_rooms(runtime.device);
  if (options.offload && !options.device.is_cpu()) {
    fail(ErrorKind::kUsage, "offload",
         "expected --device cpu beside --offload disk, found " + runtime.device);
  }
  options.rows = row_form(runtime, options);
  check_load_options(options);
  return options;
}

void check_load_options(const LoadOptions& options) {
  if (options.dtype != at::kFloat && options.dtype != at::kBFloat16)
    fail(ErrorKind::kUsage, "model", "expected dtype float32 or bfloat16");
  if (!options.device.is_cpu() && (options.quant != BaseQuant::kNone || options.offload))
    fail(ErrorKind::kUsage, "model",
         std::string("expected the CPU for ") +
             (options.offload ? "weights that stay on the disk" : "a quantised base") +
             ", found a GPU");
  if (options.offload && options.quant != BaseQuant::kNone)
    fail(ErrorKind::kUsage, "model",
         "expected a quantised base or weights that stay on the disk, found both");
  if (options.rows == RowForm::kTerms && (!kernels::has_tiles() || !options.device.is_cpu()))
    fail(ErrorKind::kUsage, "model",
         "expected a processor with AMX for products in terms, found another one");
  if (options.rows != RowForm::kRounded) return;
  if (options.dtype != at::kBFloat16 || !options.device.is_cpu() || options.offload ||
      options.quant != BaseQuant::kNone)
    fail(ErrorKind::kUsage, "model",
         "expected bfloat16 weights in the memory of the CPU for activations in bfloat16, found "
         "others",
         "--activations bfloat16 goes with --dtype bfloat16, without --offload and --base-quant");
}

at::ScalarType dtype_in_memory(const ModelSource& source, const TensorInfo& tensor,
                               const LoadOptions& options) {
  if (!options.device.is_cpu()) return options.dtype;
  if (tensor.shape.size() < 2) return at::kFloat;
  if (options.dtype != at::kFloat || source.raw(tensor).empty()) return options.dtype;
  return tensor.dtype == DType::kBF16  ? at::kBFloat16
         : tensor.dtype == DType::kF16 ? at::kHalf
                                       : at::kFloat;
}

WeightSizes weight_sizes(const ModelSource& source, const LoadOptions& options) {
  WeightSizes sizes;
  for (const TensorInfo& tensor : source.checkpoint().tensors()) sizes.stored += tensor.bytes;
  for (const ExpectedTensor& expected : expected_tensors(Decoder::describe(source))) {
    const TensorInfo* const tensor = source.find(expected.name);
    if (tensor == nullptr || (options.offload && tensor->shape.size() >= 2)) continue;
    sizes.loaded += tensor->elements() * at::elementSize(dtype_in_memory(source, *tensor, options));
  }
  return sizes;
}

}  // namespace lancet
