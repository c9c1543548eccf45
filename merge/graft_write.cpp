// Graft::tensors of merge/graft.h: rows that are sums of rows.
#include <mutex>

#include <fmt/format.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "merge/graft.h"
#include "merge/ops/convert.h"
#include "merge/ops/vector.h"

namespace lancet {
namespace {

constexpr std::uint64_t kChunk = 1ULL << 20;  ///< elements of the result at a time

/// The mean of all rows of a table.
std::vector<double> mean_row(const TensorReader& reader, std::size_t width) {
  const std::uint64_t rows = reader.elements() / std::max<std::size_t>(1, width);
  const std::uint64_t step = std::max<std::uint64_t>(1, kChunk / std::max<std::size_t>(1, width));
  std::vector<double> sum(width), values;
  for (std::uint64_t row = 0; row < rows; row += step) {
    check_interrupted();
    const std::uint64_t count = std::min(step, rows - row);
    values.resize(count * width);
    reader.read(row * width, values);
    for (std::uint64_t r = 0; r < count; ++r)
      ops::add(sum, std::span(values).subspan(r * width, width));
    reader.release(row * width, (row + count) * width);
  }
  ops::scale(sum, 1 / static_cast<double>(std::max<std::uint64_t>(1, rows)));
  return sum;
}

bool uses_mean(const RowSums& sums) {
  return std::ranges::find(sums.terms, RowSums::kMean, &RowSums::Term::row) != sums.terms.end();
}

void add_terms(const RowSums& sums, std::uint64_t row, const TensorReader& reader,
               const std::vector<double>& mean, ops::Out out) {
  std::vector<double> values(out.size());
  ops::fill(out, 0);
  for (std::uint64_t k = sums.starts[row]; k < sums.starts[row + 1]; ++k) {
    const RowSums::Term& term = sums.terms[k];
    const bool of_all = term.row == RowSums::kMean;
    if (!of_all) reader.read(term.row * static_cast<std::uint64_t>(out.size()), values);
    ops::add_scaled(out, of_all ? ops::In(mean) : ops::In(values), term.weight);
  }
}

}  // namespace

OutputTensor Graft::output(const Table& table, const TensorInfo& tensor) const {
  const bool quantized = dtype_info(tensor.dtype).quantized;
  const DType dtype = options_.dtype.value_or(quantized ? DType::kF32 : tensor.dtype);
  std::vector<std::int64_t> shape = tensor.shape;
  shape[0] = rows_;
  return {
      tensor.name, dtype, shape,
      [this, &sums = table.sums, &tensor, dtype](const std::function<void(Bytes)>& emit) {
        const auto reader = stored_reader(model_, tensor, model_tokens_.label());
        const auto width = static_cast<std::size_t>(reader->elements() /
                                                    static_cast<std::uint64_t>(tensor.shape[0]));
        const std::vector<double> mean =
            uses_mean(sums) ? mean_row(*reader, width) : std::vector<double>();
        const std::uint64_t step = std::max<std::uint64_t>(1, kChunk / width);
        const auto rows = static_cast<std::uint64_t>(rows_);
        std::vector<double> values;
        std::vector<std::byte> bytes;
        for (std::uint64_t row = 0; row < rows; row += step) {
          check_interrupted();
          const std::uint64_t count = std::min(step, rows - row);
          values.resize(count * width);
          parallel::for_each(count, [&](std::size_t r) {
            add_terms(sums, row + r, *reader, mean, std::span(values).subspan(r * width, width));
          });
          bytes.resize(dtype_bytes(dtype, values.size()).value());
          if (!ops::store_values(dtype, values, bytes)) {
            fail(ErrorKind::kNumeric, "graft-tokens",
                 fmt::format("{}: a row leaves the range of {}", reader->label(),
                             dtype_info(dtype).name),
                 "give a wider --dtype");
          }
          emit(bytes);
          reader->release(0, reader->elements());
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
