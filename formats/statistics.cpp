#include "formats/statistics.h"

#include <cmath>
#include <limits>

#include "core/parallel.h"
#include "formats/quant/decode.h"

namespace lancet {
namespace {

constexpr std::uint64_t kBlock =
    1U << 18;  // elements decoded at a time; a multiple of every block size

struct Sums {
  double sum = 0, square = 0;
  double min = std::numeric_limits<double>::infinity(),
         max = -std::numeric_limits<double>::infinity();
  std::uint64_t nan = 0, inf = 0, finite = 0;

  void add(float value) {
    if (std::isnan(value)) {
      ++nan;
    } else if (std::isinf(value)) {
      ++inf;
    } else {
      const double v = value;
      ++finite;
      sum += v;
      square += v * v;
      min = std::min(min, v);
      max = std::max(max, v);
    }
  }
};

/// Runs part(i, block) over the blocks of `elements` and returns the parts in block order.
template <typename Part, typename Make>
std::vector<Part> over_blocks(std::uint64_t elements, Make make) {
  std::vector<Part> parts((elements + kBlock - 1) / kBlock);
  parallel::for_each(parts.size(), [&](std::size_t i) {
    const std::uint64_t begin = i * kBlock;
    parts[i] = make(begin, std::min(elements, begin + kBlock));
  });
  return parts;
}

}  // namespace

TensorStatistics tensor_statistics(DType dtype, Bytes data) {
  const auto& info = dtype_info(dtype);
  const std::uint64_t elements = data.size() * 8 / info.block_bits * info.block;
  const auto parts = over_blocks<Sums>(elements, [&](std::uint64_t begin, std::uint64_t end) {
    std::vector<float> values(end - begin);
    decode_f32(dtype, data.subspan(*dtype_bytes(dtype, begin), *dtype_bytes(dtype, end - begin)),
               values);
    Sums sums;
    for (const float value : values) sums.add(value);
    return sums;
  });
  Sums all;
  for (const auto& part : parts) {
    all.sum += part.sum;
    all.square += part.square;
    all.min = std::min(all.min, part.min);
    all.max = std::max(all.max, part.max);
    all.nan += part.nan;
    all.inf += part.inf;
    all.finite += part.finite;
  }
  TensorStatistics out{.nan = all.nan, .inf = all.inf};
  if (all.finite == 0) return out;
  const auto n = static_cast<double>(all.finite);
  out.min = all.min;
  out.max = all.max;
  out.mean = all.sum / n;
  out.std = std::sqrt(std::max(0.0, all.square / n - out.mean * out.mean));
  out.norm = std::sqrt(all.square);
  return out;
}

TensorDifference tensor_difference(const ModelSource& a, const TensorInfo& in_a,
                                   const ModelSource& b, const TensorInfo& in_b) {
  const Bytes raw_a = a.raw(in_a), raw_b = b.raw(in_b);
  if (in_a.dtype == in_b.dtype && !raw_a.empty() && raw_a.size() == raw_b.size() &&
      std::memcmp(raw_a.data(), raw_b.data(), raw_a.size()) == 0) {
    return {};
  }
  struct Part {
    double aa = 0, bb = 0, ab = 0, dd = 0, max_abs = 0;
    std::uint64_t changed = 0;
  };
  const std::int64_t rows = in_a.shape.empty() ? 1 : in_a.shape[0];
  const std::uint64_t elements = in_a.elements();
  if (elements == 0) return {};
  const auto row = elements / static_cast<std::uint64_t>(rows);
  const auto rows_per_block = std::max<std::uint64_t>(1, kBlock / row);
  std::vector<Part> parts((static_cast<std::uint64_t>(rows) + rows_per_block - 1) / rows_per_block);
  parallel::for_each(parts.size(), [&](std::size_t i) {
    const auto begin = static_cast<std::int64_t>(i * rows_per_block);
    const auto end = std::min(rows, begin + static_cast<std::int64_t>(rows_per_block));
    std::vector<float> va(static_cast<std::uint64_t>(end - begin) * row), vb(va.size());
    a.read_f32(in_a, begin, end, va);
    b.read_f32(in_b, begin, end, vb);
    Part part;
    for (std::size_t k = 0; k < va.size(); ++k) {
      const double x = va[k], y = vb[k], d = y - x;
      part.aa += x * x;
      part.bb += y * y;
      part.ab += x * y;
      part.dd += d * d;
      part.max_abs = std::max(part.max_abs, std::abs(d));
      part.changed += x != y ? 1 : 0;
    }
    parts[i] = part;
  });
  Part all;
  for (const auto& part : parts) {
    all.aa += part.aa;
    all.bb += part.bb;
    all.ab += part.ab;
    all.dd += part.dd;
    all.max_abs = std::max(all.max_abs, part.max_abs);
    all.changed += part.changed;
  }
  TensorDifference out;
  out.rel_norm = all.dd == 0 ? 0 : std::sqrt(all.dd) / std::sqrt(all.aa);
  out.cosine = all.aa > 0 && all.bb > 0 ? all.ab / (std::sqrt(all.aa) * std::sqrt(all.bb))
                                        : (all.aa == all.bb ? 1 : 0);
  out.max_abs = all.max_abs;
  out.changed = static_cast<double>(all.changed) / static_cast<double>(elements);
  return out;
}

}  // namespace lancet
