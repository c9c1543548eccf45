#include "model/products.h"

#include <algorithm>
#include <vector>

#include <ATen/Parallel.h>

#include "core/error.h"
#include "model/intraop.h"

namespace lancet {
namespace {

constexpr std::int64_t kGrain = 16384;  ///< elements of one parallel chunk

const std::uint16_t* bits_of(const at::BFloat16* values) {
  static_assert(sizeof(at::BFloat16) == sizeof(std::uint16_t));
  return reinterpret_cast<const std::uint16_t*>(values);
}

/// Both jobs of float32 rows have the same parts in the same order.
template <class Job>
Job job_of(const float* in, std::int64_t width, std::int64_t rows, const at::Tensor& matrix,
           float* out, std::int64_t out_width, bool accumulate, bool tiles) {
  const kernels::WeightType type = weight_type(matrix);
  const std::int64_t n = matrix.size(0), k = matrix.size(1);
  const int workers = at::get_num_threads();
  return {in,      width, matrix.const_data_ptr(), type, k, out, out_width, rows, n, k, accumulate,
          workers, tiles};
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

kernels::WeightType weight_type(const at::Tensor& weight) {
  switch (weight.scalar_type()) {
    case at::kFloat:
      return kernels::WeightType::kF32;
    case at::kBFloat16:
      return kernels::WeightType::kBF16;
    case at::kHalf:
      return kernels::WeightType::kF16;
    default:
      fail(ErrorKind::kInternal, "model", "a product with weights of another dtype");
  }
}

Product times_transposed(const float* in, std::int64_t rows, const at::Tensor& matrix, float* out,
                         bool accumulate, bool tiles) {
  return job_of<kernels::LinearJob>(in, matrix.size(1), rows, matrix, out, matrix.size(0),
                                    accumulate, tiles);
}

Product times(const float* in, std::int64_t rows, const at::Tensor& matrix, float* out,
              bool accumulate, bool tiles) {
  return job_of<kernels::InputGradJob>(in, matrix.size(0), rows, matrix, out, matrix.size(1),
                                       accumulate, tiles);
}

Product times_transposed(const at::BFloat16* in, std::int64_t rows, const at::Tensor& matrix,
                         float* out, bool accumulate) {
  const std::int64_t n = matrix.size(0);
  const std::int64_t k = matrix.size(1);
  const std::uint16_t* w = bits_of(matrix.const_data_ptr<at::BFloat16>());
  return kernels::PairLinear{bits_of(in),          k, w, k, out, n, rows, n, k, accumulate,
                             at::get_num_threads()};
}

Product times(const at::BFloat16* in, std::int64_t rows, const at::Tensor& matrix, float* out,
              bool accumulate) {
  const std::int64_t n = matrix.size(0);
  const std::int64_t k = matrix.size(1);
  const std::uint16_t* w = bits_of(matrix.const_data_ptr<at::BFloat16>());
  return kernels::PairInputGrad{bits_of(in),          n, w, k, out, k, rows, n, k, accumulate,
                                at::get_num_threads()};
}

at::Tensor round_rows(const float* values, std::int64_t count) {
  at::Tensor out = at::empty({count}, at::TensorOptions(at::kBFloat16));
  auto* to = reinterpret_cast<std::uint16_t*>(out.mutable_data_ptr<at::BFloat16>());
  intraop_chunks(count, kGrain, [=](std::int64_t begin, std::int64_t end) {
    kernels::round_bf16(values + begin, to + begin, end - begin);
  });
  return out;
}

Product times_transposed(const float* in, std::int64_t rows, const PackedMatrix& matrix, float* out,
                         bool accumulate, bool tiles) {
  return PackedProduct{in, rows, &matrix, out, true, accumulate, tiles, at::get_num_threads()};
}

Product times(const float* in, std::int64_t rows, const PackedMatrix& matrix, float* out,
              bool accumulate, bool tiles) {
  return PackedProduct{in, rows, &matrix, out, false, accumulate, tiles, at::get_num_threads()};
}

void widen(const at::Tensor& matrix, std::int64_t first, std::int64_t count, float* out) {
  switch (weight_type(matrix)) {
    case kernels::WeightType::kF32:
      std::copy_n(matrix.const_data_ptr<float>() + first, count, out);
      return;
    case kernels::WeightType::kBF16:
      std::copy_n(matrix.const_data_ptr<at::BFloat16>() + first, count, out);
      return;
    case kernels::WeightType::kF16:
      std::copy_n(matrix.const_data_ptr<at::Half>() + first, count, out);
      return;
  }
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
