#include "model/products.h"

#include <algorithm>
#include <vector>

#include <ATen/Parallel.h>

#include "model/intraop.h"

namespace lancet {
namespace {

kernels::WeightType weight_type(const at::Tensor& weight) {
  return weight.scalar_type() == at::kBFloat16 ? kernels::WeightType::kBF16
                                               : kernels::WeightType::kF32;
}

std::int64_t tiles(const Product& product) {
  return std::visit([](const auto& it) { return tile_count(it); }, product);
}

void run_tile(const Product& product, std::int64_t index) {
  const auto run = [index](const auto& it) {
    using kernels::run_tile;
    run_tile(it, index);
  };
  std::visit(run, product);
}

}  // namespace

Product times_transposed(const float* in, std::int64_t rows, const at::Tensor& matrix, float* out,
                         bool accumulate) {
  const std::int64_t n = matrix.size(0);
  const std::int64_t k = matrix.size(1);
  return kernels::LinearJob{
      in, k,          matrix.const_data_ptr(), weight_type(matrix), k, out, n, rows, n,
      k,  accumulate, at::get_num_threads()};
}

Product times(const float* in, std::int64_t rows, const at::Tensor& matrix, float* out,
              bool accumulate) {
  const std::int64_t n = matrix.size(0);
  const std::int64_t k = matrix.size(1);
  return kernels::InputGradJob{
      in, n,          matrix.const_data_ptr(), weight_type(matrix), k, out, k, rows, n,
      k,  accumulate, at::get_num_threads()};
}

Product times_transposed(const float* in, std::int64_t rows, const PackedMatrix& matrix, float* out,
                         bool accumulate) {
  return PackedProduct{in, rows, &matrix, out, true, accumulate, at::get_num_threads()};
}

Product times(const float* in, std::int64_t rows, const PackedMatrix& matrix, float* out,
              bool accumulate) {
  return PackedProduct{in, rows, &matrix, out, false, accumulate, at::get_num_threads()};
}

void run_products(std::span<const Product> products) {
  if (products.size() == 1) {
    intraop_for(tiles(products[0]), [&](std::int64_t i) { run_tile(products[0], i); });
    return;
  }
  std::vector<std::int64_t> ends;
  for (const Product& each : products)
    ends.push_back((ends.empty() ? 0 : ends.back()) + tiles(each));
  if (ends.empty()) return;
  intraop_for(ends.back(), [&](std::int64_t i) {
    const auto which =
        static_cast<std::size_t>(std::upper_bound(ends.begin(), ends.end(), i) - ends.begin());
    run_tile(products[which], i - (which == 0 ? 0 : ends[which - 1]));
  });
}

}  // namespace lancet
