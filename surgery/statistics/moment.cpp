#include "surgery/statistics/moment.h"

#include <algorithm>

#include "model/linear.h"

namespace lancet {
namespace {

constexpr std::int64_t kTileRows = 256;  ///< rows of the matrix that are summed at a time

}  // namespace

void add_moment(const at::Tensor& keys, at::Tensor& sum) {
  const std::int64_t d = keys.size(0);
  for (std::int64_t r = 0; r < d; r += kTileRows) {
    const at::Tensor right = keys.narrow(0, r, d - r);
    const at::Tensor left = keys.narrow(0, r, std::min(kTileRows, d - r));
    sum.narrow(0, r, left.size(0))
        .narrow(1, r, d - r)
        .add_(apply_linear({right, {}, MatrixLayout::kOutIn}, left).to(at::kCPU));
  }
}

void mirror_moment(at::Tensor& sum) {
  const std::int64_t d = sum.size(0);
  for (std::int64_t r = kTileRows; r < d; r += kTileRows) {
    const std::int64_t rows = std::min(kTileRows, d - r);
    sum.narrow(0, r, rows).narrow(1, 0, r).copy_(sum.narrow(0, 0, r).narrow(1, r, rows).t());
  }
}

}  // namespace lancet
