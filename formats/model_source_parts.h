#pragma once
// What the files of ModelSource share.

#include <cstdint>
#include <span>

#include "core/bytes.h"
#include "formats/tensor_info.h"

namespace lancet {

/// Rows of the first dimension and elements in each; a scalar or vector has rows of one element.
struct TensorRows {
  std::uint64_t count = 1;
  std::uint64_t width = 1;
};
[[nodiscard]] TensorRows rows_of(const TensorInfo& tensor);

/// Elements [begin, begin + out.size()) of a tensor's stored bytes, of which it has `total`.
void decode_elements(DType dtype, Bytes data, std::uint64_t total, std::uint64_t begin,
                     std::span<float> out);

}  // namespace lancet
