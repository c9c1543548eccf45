#pragma once
// A frozen matrix in few bits, or in its file, decoded where a product needs it, a block at a time.
// Values are fixed when it is made: every product sees the same float32 numbers.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "formats/dtype.h"
#include "formats/quant/nf4.h"

namespace lancet {

class FileMatrix;

/// kNf4: with double quantisation, 4.13 bits a value. kInt8: 8 bits and a scale for each row.
/// kFp8: the same in E4M3 (formats/quant/fp8.h). kQ8_0: ggml's blocks of 32. kStored: ggml's blocks
/// as the file has them.
enum class BaseQuant { kNone, kNf4, kInt8, kFp8, kQ8_0, kStored };
/// "none", "nf4", "int8", "fp8", "q8_0", "stored"; kUsage for another word.
[[nodiscard]] BaseQuant parse_base_quant(std::string_view word);

class PackedMatrix {
 public:
  /// Writes rows [begin, end) of the matrix to `out` [end - begin, columns].
  using RowReader = std::function<void(std::int64_t begin, std::int64_t end, std::span<float> out)>;

  /// kNf4, kInt8, kFp8 or kQ8_0. kMismatch where the rows do not fill whole blocks (Q8_0).
  PackedMatrix(BaseQuant form, std::int64_t rows, std::int64_t columns, const RowReader& read);
  /// ggml's blocks as they are: bytes.size() == dtype_bytes(dtype, rows * columns).
  PackedMatrix(DType dtype, std::int64_t rows, std::int64_t columns, std::vector<std::byte> bytes);

  /// Rows [first, first + rows) of a matrix that stays in its file.
  PackedMatrix(std::shared_ptr<const FileMatrix> file, std::int64_t first, std::int64_t rows);

  [[nodiscard]] std::int64_t rows() const noexcept { return rows_; }
  [[nodiscard]] std::int64_t columns() const noexcept { return columns_; }
  /// In memory.
  [[nodiscard]] std::uint64_t bytes() const noexcept;
  [[nodiscard]] bool in_file() const noexcept { return file_ != nullptr; }
  /// Of one in a file: rows [first, first + count) of it. kInternal for another one.
  [[nodiscard]] PackedMatrix part(std::int64_t first, std::int64_t count) const;
  /// Of one in a file: will be used soon; has been used. Nothing happens to others.
  void prefetch() const;
  void release() const;
  /// Columns are decoded in multiples of this.
  [[nodiscard]] std::int64_t granule() const noexcept { return granule_; }
  /// Columns [first, first + out.size()) of a row, both ends multiples of granule() (the last one
  /// may be columns()).
  void decode(std::int64_t row, std::int64_t first, std::span<float> out) const;

 private:
  void pack_nf4(const RowReader& read);
  void pack_rows(const RowReader& read);
  void pack_blocks(const RowReader& read);

  BaseQuant form_;
  std::int64_t rows_, columns_, granule_ = 1;
  std::vector<std::uint8_t> codes_;
  DoubleQuantised maxima_;     ///< of kNf4
  std::vector<float> scales_;  ///< of kInt8, kFp8
  DType dtype_ = DType::kQ8_0;
  std::vector<std::byte> blocks_;  ///< of kQ8_0, kStored
  std::shared_ptr<const FileMatrix> file_;
  std::int64_t file_row_ = 0;
};

}  // namespace lancet
