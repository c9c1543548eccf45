#include "model/packed_products.h"

#include <algorithm>
#include <vector>

#include "model/kernels/gemm.h"

namespace lancet {
namespace {

constexpr std::int64_t kRowsOfTile = 128;     ///< rows of W decoded at once, forwards
constexpr std::int64_t kColumnsOfTile = 256;  ///< columns, backwards: a multiple of every granule
constexpr std::int64_t kLeast = 32;

constexpr std::int64_t div_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
constexpr std::int64_t round_up(std::int64_t a, std::int64_t b) { return div_up(a, b) * b; }

/// Rows or columns of W that one tile takes: fewer where many threads share them.
std::int64_t width_of(const PackedProduct& p) {
  const std::int64_t length = p.along_rows ? p.matrix->rows() : p.matrix->columns();
  const std::int64_t step =
      p.along_rows ? kLeast : std::max<std::int64_t>(kLeast, p.matrix->granule());
  const std::int64_t most = p.along_rows ? kRowsOfTile : kColumnsOfTile;
  const std::int64_t share = round_up(div_up(length, std::max<std::int64_t>(1, p.workers)), step);
  return std::clamp(share, step, most);
}

/// The thread's decoded weights.
float* scratch(std::int64_t size) {
  thread_local std::vector<float> buffer;
  if (buffer.size() < static_cast<std::size_t>(size)) buffer.resize(static_cast<std::size_t>(size));
  return buffer.data();
}

template <class Job>
void run_all(const Job& job) {
  const std::int64_t tiles = kernels::tile_count(job);
  for (std::int64_t i = 0; i < tiles; ++i) kernels::run_tile(job, i);
}

/// Decodes W[n0, n1) x [k0, k1): returns where its first element lies, rows `stride` apart.
const float* decode_part(const PackedMatrix& w, std::int64_t n0, std::int64_t n1, std::int64_t k0,
                         std::int64_t k1, std::int64_t& stride) {
  const std::int64_t first = k0 / w.granule() * w.granule();
  const std::int64_t last = std::min(w.columns(), round_up(k1, w.granule()));
  stride = last - first;
  float* const buffer = scratch((n1 - n0) * stride);
  for (std::int64_t n = n0; n < n1; ++n) {
    w.decode(n, first, {buffer + (n - n0) * stride, static_cast<std::size_t>(stride)});
  }
  return buffer + (k0 - first);
}

void run_forward(const PackedProduct& p, std::int64_t n0, std::int64_t n1) {
  const std::int64_t k = p.matrix->columns();
  const std::int64_t block = kernels::linear_block(k, p.tiles);
  for (std::int64_t k0 = 0; k0 < k; k0 += block) {
    const std::int64_t k1 = std::min(k, k0 + block);
    kernels::LinearJob job{.a = p.in + k0,
                           .lda = k,
                           .c = p.out + n0,
                           .ldc = p.matrix->rows(),
                           .m = p.rows,
                           .n = n1 - n0,
                           .k = k1 - k0,
                           .accumulate = p.accumulate || k0 > 0,
                           .workers = 1,
                           .tiles = p.tiles};
    job.w = decode_part(*p.matrix, n0, n1, k0, k1, job.ldw);
    run_all(job);
  }
}

void run_backward(const PackedProduct& p, std::int64_t k0, std::int64_t k1) {
  const std::int64_t n = p.matrix->rows();
  const std::int64_t block = kernels::input_grad_block(n, p.tiles);
  for (std::int64_t n0 = 0; n0 < n; n0 += block) {
    const std::int64_t n1 = std::min(n, n0 + block);
    kernels::InputGradJob job{.g = p.in + n0,
                              .ldg = n,
                              .c = p.out + k0,
                              .ldc = p.matrix->columns(),
                              .m = p.rows,
                              .n = n1 - n0,
                              .k = k1 - k0,
                              .accumulate = p.accumulate || n0 > 0,
                              .workers = 1,
                              .tiles = p.tiles};
    job.w = decode_part(*p.matrix, n0, n1, k0, k1, job.ldw);
    run_all(job);
  }
}

}  // namespace

std::int64_t tile_count(const PackedProduct& p) {
  if (p.rows == 0) return 0;
  return div_up(p.along_rows ? p.matrix->rows() : p.matrix->columns(), width_of(p));
}

void run_tile(const PackedProduct& p, std::int64_t index) {
  const std::int64_t width = width_of(p);
  const std::int64_t length = p.along_rows ? p.matrix->rows() : p.matrix->columns();
  const std::int64_t begin = index * width, end = std::min(length, begin + width);
  p.along_rows ? run_forward(p, begin, end) : run_backward(p, begin, end);
}

}  // namespace lancet
