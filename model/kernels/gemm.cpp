// Tiling and choice of the instruction set.

#include "model/kernels/gemm.h"

#include <algorithm>
#include <memory>
#include <string>

#include <unistd.h>

#include "core/error.h"
#include "model/kernels/gemm_kernels.h"

namespace lancet::kernels {
namespace {

// Above this number of rows packing a panel of W pays for itself (measured; results do not depend
// on it).
constexpr std::int64_t kFewRows = 24;
constexpr std::int64_t kMaxTileRows = 512;
constexpr std::int64_t kMinTileRows = 64;
constexpr std::int64_t kUsualCache = 512 << 10;  ///< second level, where the system does not say

constexpr std::int64_t div_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
constexpr std::int64_t round_up(std::int64_t a, std::int64_t b) { return div_up(a, b) * b; }

/// `tile_rows` x `tile_columns` tiles over C, rows fastest: neighbours share a panel of W.
struct Grid {
  std::int64_t rows, columns, tile_rows, tile_columns;

  [[nodiscard]] std::int64_t row_tiles() const { return div_up(rows, tile_rows); }
  [[nodiscard]] std::int64_t count() const {
    return rows == 0 || columns == 0 ? 0 : row_tiles() * div_up(columns, tile_columns);
  }
  [[nodiscard]] Tile tile(std::int64_t index) const {
    const std::int64_t m0 = index % row_tiles() * tile_rows;
    const std::int64_t n0 = index / row_tiles() * tile_columns;
    return {m0, std::min(rows, m0 + tile_rows), n0, std::min(columns, n0 + tile_columns)};
  }
};

/// Few rows: tiles of about 256 KiB of weights, in even numbers.
Grid few_rows_grid(const LinearJob& job) {
  const std::int64_t bytes = job.n * job.k * (job.type == WeightType::kF32 ? 4 : 2);
  const std::int64_t tiles = round_up(std::max<std::int64_t>(1, bytes >> 18), 2);
  return {job.m, job.n, std::max<std::int64_t>(1, job.m),
          std::max<std::int64_t>(8, round_up(div_up(job.n, tiles), 8))};
}

/// `length` in equal parts of at most `longest`, a multiple of `multiple`.
std::int64_t even_part(std::int64_t length, std::int64_t longest, std::int64_t multiple) {
  const std::int64_t parts = std::max<std::int64_t>(1, div_up(length, longest));
  return std::max(multiple, round_up(div_up(length, parts), multiple));
}

/// The widest tile whose panel of weights, `depth` elements of a sum, leaves half of the
/// second-level cache to rows and results: a panel is read again for every few rows.
std::int64_t widest_tile(std::int64_t depth) {
  static const std::int64_t cache = [] {
    const long found = ::sysconf(_SC_LEVEL2_CACHE_SIZE);
    return found > 0 ? static_cast<std::int64_t>(found) : kUsualCache;
  }();
  const std::int64_t columns = cache / 2 / (std::max<std::int64_t>(1, depth) * 4);
  return std::clamp(columns / kPanelAlign * kPanelAlign, 2 * kPanelAlign, kMaxTileColumns);
}

/// Wide and tall tiles cost the least packing (one row of W costs as much as 13 rows of C, one row
/// of A as 5 columns: measured); small ones share the work evenly. Takes the cheapest for `workers`
/// threads.
Grid packed_grid(std::int64_t rows, std::int64_t columns, std::int64_t depth,
                 std::int64_t workers) {
  Grid best{};
  double least = 0;
  for (std::int64_t tall = kMaxTileRows; tall >= kMinTileRows; tall /= 2) {
    for (std::int64_t wide = widest_tile(depth); wide >= kPanelAlign; wide -= kPanelAlign) {
      const Grid grid{rows, columns, even_part(rows, tall, 2),
                      even_part(columns, wide, kPanelAlign)};
      const auto turns =
          static_cast<double>(div_up(grid.count(), std::max<std::int64_t>(1, workers)));
      const double cost =
          turns * static_cast<double>((grid.tile_rows + 13) * (grid.tile_columns + 5));
      if (best.tile_rows == 0 || cost < least) {
        best = grid;
        least = cost;
      }
    }
  }
  return best;
}

Grid grid_of(const LinearJob& job) {
  return job.m <= kFewRows ? few_rows_grid(job)
                           : packed_grid(job.m, job.n, linear_block(job.k), job.workers);
}
Grid grid_of(const InputGradJob& job) {
  return packed_grid(job.m, job.k, input_grad_block(job.n), job.workers);
}

void check_matrix(const char* name, std::int64_t rows, std::int64_t columns, std::int64_t stride) {
  if (rows < 0 || columns < 0 || (rows > 1 && stride < columns)) {
    fail(ErrorKind::kInternal, "matrix product",
         std::string("expected rows of ") + name + " no longer than its leading dimension, found " +
             std::to_string(rows) + " x " + std::to_string(columns) + " with " +
             std::to_string(stride));
  }
}

const KernelTable& kernels_of(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return kernels_avx512;
  if (isa == Isa::kAvx2) return kernels_avx2;
#endif
  static_cast<void>(isa);
  return kernels_scalar;
}

}  // namespace

Scratch& scratch() {
  thread_local const std::unique_ptr<Scratch> buffer(new Scratch);  // not zeroed
  return *buffer;
}

std::int64_t linear_block(std::int64_t k) noexcept { return block_length(k, kLinearBlock); }

std::int64_t input_grad_block(std::int64_t n) noexcept { return block_length(n, kGradBlock); }

std::int64_t tile_count(const LinearJob& job) {
  check_matrix("A", job.m, job.k, job.lda);
  check_matrix("W", job.n, job.k, job.ldw);
  check_matrix("C", job.m, job.n, job.ldc);
  return grid_of(job).count();
}

std::int64_t tile_count(const InputGradJob& job) {
  check_matrix("G", job.m, job.n, job.ldg);
  check_matrix("W", job.n, job.k, job.ldw);
  check_matrix("C", job.m, job.k, job.ldc);
  return grid_of(job).count();
}

void run_tile(const KernelTable& table, const LinearJob& job, std::int64_t index) {
  (job.m <= kFewRows ? table.linear_few : table.linear)(job, grid_of(job).tile(index));
}

void run_tile(const KernelTable& table, const InputGradJob& job, std::int64_t index) {
  table.input_grad(job, grid_of(job).tile(index));
}

void run_tile(const LinearJob& job, std::int64_t index, Isa isa) {
  run_tile(kernels_of(isa), job, index);
}

void run_tile(const InputGradJob& job, std::int64_t index, Isa isa) {
  run_tile(kernels_of(isa), job, index);
}

}  // namespace lancet::kernels
