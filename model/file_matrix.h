#pragma once
// A matrix whose values stay in the checkpoint's file (`--offload disk`): mapped, decoded where a
// product needs them, and let go of behind it. Values are those that a loaded model would have.

#include <cstdint>
#include <memory>
#include <span>

#include "formats/model_source.h"

namespace lancet {

class FileMatrix {
 public:
  /// `tensor`: [..., columns], rows counted through all its other dimensions. `bfloat16`: values
  /// are rounded to it, as they are in a model of that dtype.
  FileMatrix(std::shared_ptr<const ModelSource> source, const TensorInfo& tensor, bool bfloat16);

  [[nodiscard]] std::int64_t rows() const noexcept { return rows_; }
  [[nodiscard]] std::int64_t columns() const noexcept { return columns_; }
  /// Columns are read in multiples of this.
  [[nodiscard]] std::int64_t granule() const noexcept { return granule_; }
  /// Columns [first, first + out.size()) of a row, ends as PackedMatrix::decode. kInput with the
  /// tensor's name where a value is NaN or infinite. Any thread.
  void read(std::int64_t row, std::int64_t first, std::span<float> out) const;
  /// Rows [first, first + count) will be read soon; have been read.
  void prefetch(std::int64_t first, std::int64_t count) const;
  void release(std::int64_t first, std::int64_t count) const;

 private:
  [[nodiscard]] std::uint64_t bytes_of(std::int64_t rows) const;

  std::shared_ptr<const ModelSource> source_;
  TensorInfo tensor_;
  std::int64_t rows_ = 0, columns_ = 0, granule_ = 1;
  bool rounds_ = false;
  Bytes stored_;  ///< in order; empty: through source_
};

}  // namespace lancet
