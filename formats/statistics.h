#pragma once
// Statistics of one tensor and comparison of two, streamed in blocks of bounded size. Sums in
// float64 over a fixed grid: the same digits for any thread count.

#include <cstdint>

#include "core/bytes.h"
#include "formats/model_source.h"

namespace lancet {

struct TensorStatistics {
  double min = 0, max = 0, mean = 0, std = 0, norm = 0;  ///< over the finite values
  std::uint64_t nan = 0, inf = 0;
};

/// `data`: the stored bytes of a floating tensor of `dtype`.
[[nodiscard]] TensorStatistics tensor_statistics(DType dtype, Bytes data);

struct TensorDifference {
  double rel_norm = 0;  ///< ||b - a|| / ||a||  (0 when both are zero, infinite when only a is)
  double cosine = 1;    ///< <a, b> / (||a|| ||b||)
  double max_abs = 0;   ///< max |b - a|
  double changed = 0;   ///< share of elements whose value differs
};

/// Compares decoded values of two tensors of equal shape.
[[nodiscard]] TensorDifference tensor_difference(const ModelSource& a, const TensorInfo& in_a,
                                                 const ModelSource& b, const TensorInfo& in_b);

}  // namespace lancet
