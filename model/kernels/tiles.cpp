#include "model/kernels/tiles.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "model/kernels/grid.h"

namespace lancet::kernels {
namespace {

// Above this number of rows turning W pays for itself (measured; results do not depend on it).
constexpr std::int64_t kFewTileRows = 64;
constexpr Packing kPacking{kTileColumns, 32, 64, 16};
constexpr std::int64_t kFewSplitRows = 32;

Grid grid_of(const PairLinear& job) {
  return job.m <= kFewTileRows ? few_rows_grid(job.m, job.n, job.n * job.k * 2, 32)
                               : packed_grid(job.m, job.n, kPacking, job.workers);
}
Grid grid_of(const PairInputGrad& job) { return packed_grid(job.m, job.k, kPacking, job.workers); }

Packing packing(WeightType type) { return {type == WeightType::kBF16 ? 1024 : 320, 32, 64, 64}; }

Grid grid_of(const LinearJob& job) {
  const std::int64_t bytes = job.n * job.k * (job.type == WeightType::kF32 ? 4 : 2);
  return job.m <= kFewSplitRows ? few_rows_grid(job.m, job.n, bytes, 32)
                                : packed_grid(job.m, job.n, packing(job.type), job.workers);
}
Grid grid_of(const InputGradJob& job) {
  return packed_grid(job.m, job.k, packing(job.type), job.workers);
}

TileScratch& tile_scratch() {
  thread_local const std::unique_ptr<TileScratch> buffers(new TileScratch);  // not zeroed
  return *buffers;
}

}  // namespace

std::byte* GrowingBuffer::of(std::int64_t bytes) {
  constexpr std::int64_t kLine = 64;
  if (size_ < bytes) {
    memory_.reset(new std::byte[static_cast<std::size_t>(bytes + kLine)]);
    size_ = bytes;
  }
  void* at = memory_.get();
  auto room = static_cast<std::size_t>(size_ + kLine);
  return static_cast<std::byte*>(std::align(kLine, static_cast<std::size_t>(size_), at, room));
}

std::uint16_t* TileScratch::rows(std::int64_t distance) {
  return reinterpret_cast<std::uint16_t*>(rows_.of(32 * distance * 2));
}

std::uint32_t* TileScratch::turned_rows(std::int64_t m, std::int64_t groups) {
  return reinterpret_cast<std::uint32_t*>(turned_.of((m + 15) / 16 * groups * 1024));
}

std::uint16_t* TileScratch::split_rows(std::int64_t tiles) {
  return reinterpret_cast<std::uint16_t*>(split_rows_.of(tiles * 1024));
}

std::uint32_t* TileScratch::split_columns(std::int64_t tiles) {
  return reinterpret_cast<std::uint32_t*>(split_columns_.of(tiles * 1024));
}

bool has_tiles() noexcept {
#if defined(__x86_64__) && defined(__linux__)
  static const bool found = [] {
    constexpr unsigned kTiles = 1U << 24U, kTilesBf16 = 1U << 22U;
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
    if ((d & kTiles) == 0 || (d & kTilesBf16) == 0 || !has_isa(Isa::kAvx512)) return false;
    if (!__builtin_cpu_supports("avx512bf16")) return false;
    constexpr long kAskFor = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
    return ::syscall(SYS_arch_prctl, kAskFor, kTileData) == 0;
  }();
  return found;
#else
  return false;
#endif
}

std::int64_t count_in_tiles(const PairLinear& job) { return grid_of(job).count(); }
std::int64_t count_in_tiles(const PairInputGrad& job) { return grid_of(job).count(); }

void run_in_tiles(const TileTable& table, const PairLinear& job, std::int64_t index) {
  const auto run = job.m <= kFewTileRows ? table.linear_few : table.linear;
  run(job, grid_of(job).tile(index), tile_scratch());
}
void run_in_tiles(const TileTable& table, const PairInputGrad& job, std::int64_t index) {
  table.input_grad(job, grid_of(job).tile(index), tile_scratch());
}

std::int64_t count_in_tiles(const LinearJob& job) { return grid_of(job).count(); }
std::int64_t count_in_tiles(const InputGradJob& job) { return grid_of(job).count(); }

void run_in_tiles(const SplitTable& table, const LinearJob& job, std::int64_t index) {
  const auto run = job.m <= kFewSplitRows ? table.linear_few : table.linear;
  run(job, grid_of(job).tile(index), tile_scratch());
}
void run_in_tiles(const SplitTable& table, const InputGradJob& job, std::int64_t index) {
  table.input_grad(job, grid_of(job).tile(index), tile_scratch());
}

}  // namespace lancet::kernels
