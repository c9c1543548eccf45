#include "model/kernels/isa.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace lancet::kernels {

#if defined(__x86_64__)
/// F16C, for which clang's builtin has no word.
static bool has_half_loads() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

bool has_isa(Isa isa) noexcept {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           has_isa(Isa::kAvx2);
  }
  if (isa == Isa::kAvx2) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_half_loads();
  }
#endif
  return isa == Isa::kScalar;
}

Isa best_isa() noexcept {
  static const Isa best = has_isa(Isa::kAvx512) ? Isa::kAvx512
                          : has_isa(Isa::kAvx2) ? Isa::kAvx2
                                                : Isa::kScalar;
  return best;
}

std::string_view isa_name(Isa isa) noexcept {
  return isa == Isa::kAvx512 ? "avx512" : isa == Isa::kAvx2 ? "avx2" : "scalar";
}

}  // namespace lancet::kernels
