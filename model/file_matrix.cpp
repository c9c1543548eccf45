#include "model/file_matrix.h"

#include <bit>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "core/text.h"
#include "formats/quant/decode.h"

namespace lancet {
namespace {

std::uint64_t size_of(std::int64_t n) { return static_cast<std::uint64_t>(n); }

bool is_finite(std::span<const float> values) {
  constexpr std::uint32_t kExponent = 0x7f800000U;
  std::uint32_t found = 0;
  for (const float value : values)
    found |= (std::bit_cast<std::uint32_t>(value) & kExponent) == kExponent ? 1U : 0U;
  return found == 0;
}

}  // namespace

FileMatrix::FileMatrix(std::shared_ptr<const ModelSource> source, const TensorInfo& tensor,
                       bool bfloat16)
    : source_(std::move(source)),
      tensor_(tensor),
      columns_(tensor.shape.back()),
      rounds_(bfloat16 && (tensor.dtype != DType::kBF16 || source_->raw(tensor).empty())),
      stored_(source_->in_order(tensor)) {
  rows_ = 1;
  for (std::size_t i = 0; i + 1 < tensor.shape.size(); ++i) rows_ *= tensor.shape[i];
  const DTypeInfo& info = dtype_info(tensor.dtype);
  const bool whole_rows = info.block_bits % 8 == 0 && columns_ % info.block == 0;
  if (!whole_rows) stored_ = {};
  if (!stored_.empty()) granule_ = info.block;
}

void FileMatrix::read(std::int64_t row, std::int64_t first, std::span<float> out) const {
  const std::uint64_t begin = size_of(row) * size_of(columns_) + size_of(first);
  if (stored_.empty()) {
    source_->read_elements(tensor_, begin, out);
  } else {
    const std::uint64_t at = dtype_bytes(tensor_.dtype, begin).value();
    decode_f32(tensor_.dtype, stored_.subspan(at, dtype_bytes(tensor_.dtype, out.size()).value()),
               out);
  }
  if (!is_finite(out)) {
    fail(ErrorKind::kInput, "model",
         "expected finite weights, found NaN or an infinity in row " + std::to_string(row) +
             " of '" + printable(tensor_.name) + "' (" + source_->checkpoint().path().string() +
             ")",
         "lancet inspect --stats lists such tensors");
  }
  if (!rounds_) return;
  for (float& value : out) value = bf16_to_f32(f32_to_bf16(value));
}

std::uint64_t FileMatrix::bytes_of(std::int64_t rows) const {
  const std::uint64_t all = size_of(rows_);
  return all == 0 ? 0 : tensor_.bytes / all * size_of(rows);
}

void FileMatrix::prefetch(std::int64_t first, std::int64_t count) const {
  source_->prefetch(tensor_, bytes_of(first), bytes_of(count));
}

void FileMatrix::release(std::int64_t first, std::int64_t count) const {
  source_->release(tensor_, bytes_of(first), bytes_of(count));
}

}  // namespace lancet
