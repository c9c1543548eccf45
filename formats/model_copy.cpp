// copy_tensor of formats/model_writer.h.
#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "formats/model_writer.h"
#include "formats/tensor_stages.h"

namespace lancet {
namespace {

using Emit = std::function<void(Bytes)>;

/// The tensor as one long row of elements: blocks need not end with rows.
TensorInfo flat(TensorInfo tensor) {
  tensor.shape = {static_cast<std::int64_t>(tensor.elements())};
  return tensor;
}

/// How a tensor is cut into blocks: `rows` of the view, at most `step` of them at a time.
struct Cut {
  TensorInfo view;
  std::int64_t rows = 0;
  std::int64_t step = 1;
  std::uint64_t width = 1;  ///< elements per row
};

Cut cut_tensor(const ModelSource& source, const TensorInfo& tensor) {
  const std::int64_t head = source.permuted_head_dim(tensor);
  Cut cut{head == 0 ? flat(tensor) : tensor, 0, 0, 1};
  cut.rows = cut.view.shape[0];
  for (std::size_t i = 1; i < cut.view.shape.size(); ++i)
    cut.width *= static_cast<std::uint64_t>(cut.view.shape[i]);
  // Whole heads, so that a block's stored bytes are one range; else a multiple of every block size.
  const std::uint64_t unit = head == 0 ? 256 : static_cast<std::uint64_t>(head);
  const std::uint64_t fit =
      kStageBytes / sizeof(float) / std::max<std::uint64_t>(1, cut.width * unit);
  cut.step = static_cast<std::int64_t>(std::max<std::uint64_t>(1, fit) * unit);
  return cut;
}

void release_rows(const ModelSource& source, const Cut& cut, std::int64_t begin, std::int64_t end) {
  const std::uint64_t from =
      dtype_bytes(cut.view.dtype, static_cast<std::uint64_t>(begin) * cut.width).value();
  const std::uint64_t to =
      dtype_bytes(cut.view.dtype, static_cast<std::uint64_t>(end) * cut.width).value();
  source.release(cut.view, from, to - from);
}

void emit_raw(const ModelSource& source, const TensorInfo& tensor, const Emit& emit) {
  const Bytes raw = source.raw(tensor);
  for (std::uint64_t at = 0; at < raw.size(); at += kStageBytes) {
    const Bytes block = raw.subspan(at, std::min<std::uint64_t>(kStageBytes, raw.size() - at));
    emit(block);
    source.release(tensor, at, block.size());
  }
}

/// Rows in Hugging Face order, their bytes unchanged.
void emit_gathered(const ModelSource& source, const Cut& cut, const Emit& emit) {
  std::vector<std::byte> block;
  for (std::int64_t row = 0; row < cut.rows; row += cut.step) {
    const std::int64_t end = std::min(cut.rows, row + cut.step);
    block.resize(
        dtype_bytes(cut.view.dtype, static_cast<std::uint64_t>(end - row) * cut.width).value());
    source.read_stored(cut.view, row, end, block);
    emit(block);
    release_rows(source, cut, row, end);
  }
}

void emit_decoded(const ModelSource& source, const Cut& cut, DType dtype, const Emit& emit) {
  std::vector<float> values;
  std::vector<std::byte> encoded;
  for (std::int64_t row = 0; row < cut.rows; row += cut.step) {
    const std::int64_t end = std::min(cut.rows, row + cut.step);
    values.resize(static_cast<std::uint64_t>(end - row) * cut.width);
    source.read_f32(cut.view, row, end, values);
    release_rows(source, cut, row, end);
    if (dtype == DType::kF32) {
      emit(std::as_bytes(std::span(values)));
      continue;
    }
    encoded.resize(dtype_bytes(dtype, values.size()).value());
    encode_parallel(dtype, values, encoded);
    emit(encoded);
  }
}

}  // namespace

OutputTensor copy_tensor(const ModelSource& source, const TensorInfo& tensor,
                         std::optional<DType> dtype) {
  const DTypeInfo& info = dtype_info(tensor.dtype);
  DType target = info.quantized ? DType::kF32 : tensor.dtype;
  if (dtype && info.floating) target = *dtype;
  if (target != tensor.dtype && target != DType::kF32 && target != DType::kF16 &&
      target != DType::kBF16 && target != DType::kF64) {
    fail(ErrorKind::kUsage, "convert",
         fmt::format("expected float32, bfloat16, float16 or float64 to convert to, found {}",
                     dtype_info(target).name));
  }
  OutputTensor out{tensor.name, target, tensor.shape, {}};
  out.write = [&source, tensor, target](const Emit& emit) {
    if (tensor.elements() == 0) return;
    const Cut cut = cut_tensor(source, tensor);
    if (target != tensor.dtype) {
      emit_decoded(source, cut, target, emit);
    } else if (!source.raw(tensor).empty()) {
      emit_raw(source, tensor, emit);
    } else {
      emit_gathered(source, cut, emit);
    }
    source.checkpoint().files()[tensor.file].check_unchanged();
  };
  return out;
}

}  // namespace lancet
