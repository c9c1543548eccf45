#include "model/packed_matrix.h"

#include <algorithm>
#include <array>
#include <bit>
#include <string>

#include "core/error.h"
#include "core/parallel.h"
#include "core/text.h"
#include "formats/quant/decode.h"
#include "formats/quant/fp8.h"
#include "model/file_matrix.h"

namespace lancet {
namespace {

/// Rows packed at once by one thread; of any width they fill whole blocks of NF4.
constexpr std::int64_t kRows = kNf4Block;

std::size_t size_of(std::int64_t n) { return static_cast<std::size_t>(n); }

std::size_t block_bytes(DType dtype, std::int64_t columns) {
  const auto bytes = dtype_bytes(dtype, static_cast<std::uint64_t>(columns));
  if (!bytes)
    fail(ErrorKind::kMismatch, "model",
         "expected rows of whole " + std::string(dtype_info(dtype).name) + " blocks, found " +
             std::to_string(columns) + " columns");
  return static_cast<std::size_t>(*bytes);
}

}  // namespace

BaseQuant parse_base_quant(std::string_view word) {
  constexpr std::array<std::string_view, 6> kWords{"none", "nf4", "int8", "fp8", "q8_0", "stored"};
  const auto at = std::ranges::find(kWords, word);
  if (at != kWords.end()) return static_cast<BaseQuant>(at - kWords.begin());
  fail(ErrorKind::kUsage, "model",
       "expected a form of none, nf4, int8, fp8, q8_0, stored, found '" + printable(word) + "'",
       did_you_mean(word, {kWords.begin(), kWords.end()}));
}

PackedMatrix::PackedMatrix(BaseQuant form, std::int64_t rows, std::int64_t columns,
                           const RowReader& read)
    : form_(form), rows_(rows), columns_(columns) {
  switch (form) {
    case BaseQuant::kNf4:
      pack_nf4(read);
      break;
    case BaseQuant::kInt8:
    case BaseQuant::kFp8:
      pack_rows(read);
      break;
    case BaseQuant::kQ8_0:
      pack_blocks(read);
      break;
    case BaseQuant::kNone:
    case BaseQuant::kStored:
      fail(ErrorKind::kInternal, "model", "a form that values are not packed into");
  }
}

PackedMatrix::PackedMatrix(DType dtype, std::int64_t rows, std::int64_t columns,
                           std::vector<std::byte> bytes)
    : form_(BaseQuant::kStored),
      rows_(rows),
      columns_(columns),
      granule_(dtype_info(dtype).block),
      dtype_(dtype),
      blocks_(std::move(bytes)) {
  if (blocks_.size() != block_bytes(dtype, columns) * size_of(rows))
    fail(ErrorKind::kInternal, "model", "packed bytes that are not the matrix's");
}

PackedMatrix::PackedMatrix(std::shared_ptr<const FileMatrix> file, std::int64_t first,
                           std::int64_t rows)
    : form_(BaseQuant::kNone),
      rows_(rows),
      columns_(file->columns()),
      granule_(file->granule()),
      file_(std::move(file)),
      file_row_(first) {
  if (first < 0 || rows < 0 || first + rows > file_->rows())
    fail(ErrorKind::kInternal, "model", "rows outside the matrix");
}

PackedMatrix PackedMatrix::part(std::int64_t first, std::int64_t count) const {
  if (!in_file()) fail(ErrorKind::kInternal, "model", "a part of a matrix that is not in a file");
  return {file_, file_row_ + first, count};
}

void PackedMatrix::prefetch() const {
  if (in_file()) file_->prefetch(file_row_, rows_);
}

void PackedMatrix::release() const {
  if (in_file()) file_->release(file_row_, rows_);
}

void PackedMatrix::pack_nf4(const RowReader& read) {
  const std::int64_t values = rows_ * columns_;
  codes_.resize(size_of((values + 1) / 2));
  std::vector<float> maxima(size_of((values + kNf4Block - 1) / kNf4Block));
  parallel::for_chunks(size_of(rows_), size_of(kRows), [&](std::size_t begin, std::size_t end) {
    std::vector<float> part((end - begin) * size_of(columns_));
    read(static_cast<std::int64_t>(begin), static_cast<std::int64_t>(end), part);
    const std::size_t first = begin * size_of(columns_);
    encode_nf4(
        part, std::span(codes_).subspan(first / 2, (part.size() + 1) / 2),
        std::span(maxima).subspan(first / kNf4Block, (part.size() + kNf4Block - 1) / kNf4Block));
  });
  maxima_ = quantise_maxima(maxima);
}

void PackedMatrix::pack_rows(const RowReader& read) {
  codes_.resize(size_of(rows_ * columns_));
  scales_.resize(size_of(rows_));
  parallel::for_chunks(size_of(rows_), size_of(kRows), [&](std::size_t begin, std::size_t end) {
    const std::size_t width = size_of(columns_);
    std::vector<float> part((end - begin) * width);
    std::vector<std::int8_t> codes(width);
    read(static_cast<std::int64_t>(begin), static_cast<std::int64_t>(end), part);
    for (std::size_t row = begin; row < end; ++row) {
      const auto values = std::span<const float>(part).subspan((row - begin) * width, width);
      const auto to = std::span(codes_).subspan(row * width, width);
      if (form_ == BaseQuant::kFp8) {
        scales_[row] = encode_fp8(values, to);
        continue;
      }
      scales_[row] = encode_int8(values, codes);
      std::ranges::transform(codes, to.begin(),
                             [](std::int8_t code) { return std::bit_cast<std::uint8_t>(code); });
    }
  });
}

void PackedMatrix::pack_blocks(const RowReader& read) {
  granule_ = dtype_info(dtype_).block;
  const std::size_t row_bytes = block_bytes(dtype_, columns_);
  blocks_.resize(row_bytes * size_of(rows_));
  parallel::for_chunks(size_of(rows_), size_of(kRows), [&](std::size_t begin, std::size_t end) {
    std::vector<float> part((end - begin) * size_of(columns_));
    read(static_cast<std::int64_t>(begin), static_cast<std::int64_t>(end), part);
    encode_f32(dtype_, part,
               std::span(blocks_).subspan(begin * row_bytes, (end - begin) * row_bytes));
  });
}

std::uint64_t PackedMatrix::bytes() const noexcept {
  return codes_.size() + maxima_.codes.size() +
         sizeof(float) * (maxima_.maxima.size() + scales_.size()) + blocks_.size();
}

void PackedMatrix::decode(std::int64_t row, std::int64_t first, std::span<float> out) const {
  if (in_file()) {
    file_->read(file_row_ + row, first, out);
  } else if (form_ == BaseQuant::kNf4) {
    const std::int64_t begin = row * columns_ + first;
    const auto count = static_cast<std::int64_t>(out.size());
    thread_local std::vector<float> maxima;
    const std::int64_t block = begin / kNf4Block;
    maxima.resize(size_of((begin + count - 1) / kNf4Block - block + 1));
    restore_maxima(maxima_, block, maxima);
    // From the block's first code on, so that the maxima stand beside their codes.
    decode_nf4(std::span(codes_).subspan(size_of(block * kNf4Block / 2)), maxima,
               begin - block * kNf4Block, out);
  } else if (form_ == BaseQuant::kInt8) {
    const float scale = scales_[size_of(row)];
    const auto* code = codes_.data() + row * columns_ + first;
    for (float& value : out)
      value = static_cast<float>(std::bit_cast<std::int8_t>(*code++)) * scale;
  } else if (form_ == BaseQuant::kFp8) {
    const float scale = scales_[size_of(row)];
    const auto codes = std::span(codes_).subspan(size_of(row * columns_ + first), out.size());
    decode_f32(DType::kF8E4M3, std::as_bytes(codes), out);
    for (float& value : out) value *= scale;
  } else {
    const std::size_t row_bytes = block_bytes(dtype_, columns_);
    const std::size_t before = block_bytes(dtype_, first);
    const std::size_t size = block_bytes(dtype_, static_cast<std::int64_t>(out.size()));
    decode_f32(dtype_, Bytes(blocks_).subspan(size_of(row) * row_bytes + before, size), out);
  }
}

}  // namespace lancet
