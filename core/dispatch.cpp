#include "core/dispatch.h"

#include <algorithm>
#include <atomic>

namespace lancet {
namespace {

Isa best_isa() noexcept {
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") != 0;
  const bool avx512 =
      __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
      __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0;
  if (avx2 && avx512) return Isa::kAvx512;
  if (avx2) return Isa::kAvx2;
#endif
  return Isa::kPlain;
}

std::atomic<Isa> g_limit{Isa::kAvx512};

}  // namespace

Isa isa() noexcept {
  static const Isa best = best_isa();
  return std::min(best, g_limit.load(std::memory_order_relaxed));
}

void limit_isa(Isa highest) noexcept { g_limit.store(highest, std::memory_order_relaxed); }

}  // namespace lancet
