// Graft::tensors of merge/graft.h: rows that are sums of rows.
#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "merge/graft_rows.h"
#include "merge/ops/convert.h"

namespace lancet {
OutputTensor Graft::output(const Table& table, const TensorInfo& tensor) const {
  const bool quantized = dtype_info(tensor.dtype).quantized;
  const DType dtype = options_.dtype.value_or(quantized ? DType::kF32 : tensor.dtype);
  std::vector<std::int64_t> shape = tensor.shape;
  shape[0] = rows_;
  return {tensor.name, dtype, shape,
          [this, &sums = table.sums, &tensor, dtype](const std::function<void(Bytes)>& emit) {
            const auto reader = stored_reader(model_, tensor, model_tokens_.label());
            const RowMaker maker(*reader, sums);
            const std::uint64_t step = RowMaker::rows_at_a_time(maker.width());
            const auto rows = static_cast<std::uint64_t>(rows_);
            std::vector<double> values;
            std::vector<std::byte> bytes;
            for (std::uint64_t row = 0; row < rows; row += step) {
              check_interrupted();
              values.resize(std::min(step, rows - row) * maker.width());
              maker.make(row, values);
              bytes.resize(dtype_bytes(dtype, values.size()).value());
              if (!ops::store_values(dtype, values, bytes)) {
                fail(ErrorKind::kNumeric, "graft-tokens",
                     fmt::format("{}: a row leaves the range of {}", reader->label(),
                                 dtype_info(dtype).name),
                     "give a wider --dtype");
              }
              emit(bytes);
            }
          }};
}

std::vector<OutputTensor> Graft::tensors() const {
  std::vector<OutputTensor> out;
  for (const TensorInfo& tensor : model_.tensors()) {
    const auto table = std::ranges::find_if(
        tables_, [&](const Table& each) { return each.model == &tensor || each.bias == &tensor; });
    out.push_back(table == tables_.end() ? copy_tensor(model_, tensor, options_.dtype)
                                         : output(*table, tensor));
  }
  return out;
}

std::uint64_t Graft::bytes() const {
  std::uint64_t sum = 0;
  for (const OutputTensor& tensor : tensors()) {
    std::uint64_t elements = 1;
    for (const std::int64_t dim : tensor.shape) elements *= static_cast<std::uint64_t>(dim);
    sum += dtype_bytes(tensor.dtype, elements).value_or(0);
  }
  return sum;
}

}  // namespace lancet
