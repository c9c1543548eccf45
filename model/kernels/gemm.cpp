// Tiling and choice of the instruction set.

#include "model/kernels/gemm.h"

#include <algorithm>
#include <memory>
#include <string>

#include <unistd.h>

#include "core/error.h"
#include "model/kernels/gemm_kernels.h"
#include "model/kernels/grid.h"
#include "model/kernels/tiles.h"

namespace lancet::kernels {
namespace {

// Above this number of rows packing a panel of W pays for itself (measured; results do not depend
// on it).
constexpr std::int64_t kFewRows = 24;
constexpr std::int64_t kUsualCache = 512 << 10;  ///< second level, where the system does not say

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

/// One row of W costs as much to pack as 13 rows of C, one row of A as 5 columns: measured.
Packing packing(std::int64_t depth) { return {widest_tile(depth), kPanelAlign, 13, 5}; }

Grid grid_of(const LinearJob& job) {
  const std::int64_t bytes = job.n * job.k * (job.type == WeightType::kF32 ? 4 : 2);
  return job.m <= kFewRows
             ? few_rows_grid(job.m, job.n, bytes, 8)
             : packed_grid(job.m, job.n, packing(linear_block(job.k, false)), job.workers);
}
Grid grid_of(const InputGradJob& job) {
  return packed_grid(job.m, job.k, packing(input_grad_block(job.n, false)), job.workers);
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

/// Of the order of tiles.
const SplitTable& tiles_of(Isa isa) {
#if defined(__x86_64__)
  if (isa != Isa::kScalar) return split_amx;
#endif
  static_cast<void>(isa);
  return split_twin;
}

}  // namespace

Scratch& scratch() {
  thread_local const std::unique_ptr<Scratch> buffer(new Scratch);  // not zeroed
  return *buffer;
}

bool streams_narrow_rows() {
#if defined(__x86_64__)
  static const bool intel = __builtin_cpu_is("intel") != 0;
  return !intel;
#else
  return true;
#endif
}

std::int64_t linear_block(std::int64_t k, bool tiles) noexcept {
  return tiles ? split_block(k) : block_length(k, kLinearBlock);
}

std::int64_t input_grad_block(std::int64_t n, bool tiles) noexcept {
  return tiles ? split_block(n) : block_length(n, kGradBlock);
}

std::int64_t tile_count(const LinearJob& job) {
  check_matrix("A", job.m, job.k, job.lda);
  check_matrix("W", job.n, job.k, job.ldw);
  check_matrix("C", job.m, job.n, job.ldc);
  return job.tiles ? count_in_tiles(job) : grid_of(job).count();
}

std::int64_t tile_count(const InputGradJob& job) {
  check_matrix("G", job.m, job.n, job.ldg);
  check_matrix("W", job.n, job.k, job.ldw);
  check_matrix("C", job.m, job.k, job.ldc);
  return job.tiles ? count_in_tiles(job) : grid_of(job).count();
}

void run_tile(const KernelTable& table, const LinearJob& job, std::int64_t index) {
  (job.m <= kFewRows ? table.linear_few : table.linear)(job, grid_of(job).tile(index));
}

void run_tile(const KernelTable& table, const InputGradJob& job, std::int64_t index) {
  table.input_grad(job, grid_of(job).tile(index));
}

void run_tile(const LinearJob& job, std::int64_t index, Isa isa) {
  if (job.tiles) return run_in_tiles(tiles_of(isa), job, index);
  run_tile(kernels_of(isa), job, index);
}

void run_tile(const InputGradJob& job, std::int64_t index, Isa isa) {
  if (job.tiles) return run_in_tiles(tiles_of(isa), job, index);
  run_tile(kernels_of(isa), job, index);
}

}  // namespace lancet::kernels
