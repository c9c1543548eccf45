#include "model/kernels/isa.h"

namespace lancet::kernels {

bool has_isa(Isa isa) noexcept {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           has_isa(Isa::kAvx2);
  }
  if (isa == Isa::kAvx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
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
