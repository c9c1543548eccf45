#pragma once
// One loop, compiled for three instruction sets, the best one chosen at run time. The loop is an
// `Op` with a `LANCET_BODY static run`; it must not depend on the width of a vector (reductions
// name their lanes), and contraction is off, so that every set gives the same bits.

/// In front of `run` and of what it calls: a part of the loop, compiled for the same set.
#define LANCET_BODY [[gnu::always_inline]] inline

namespace lancet {

enum class Isa { kPlain, kAvx2, kAvx512 };

/// The set in use: the best of this processor, or what limit_isa() left.
[[nodiscard]] Isa isa() noexcept;
/// Uses no set above `highest` from now on: for tests that compare the twins.
void limit_isa(Isa highest) noexcept;

#if defined(__x86_64__)
template <typename Op, typename... Args>
[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx2")]] auto run_avx512(Args... args) {
  return Op::run(args...);
}
template <typename Op, typename... Args>
[[gnu::target("avx2")]] auto run_avx2(Args... args) {
  return Op::run(args...);
}
#endif

/// Op::run(args...) in the set in use. Arguments are pointers and numbers.
template <typename Op, typename... Args>
auto dispatch(Args... args) {
#if defined(__x86_64__)
  if (isa() == Isa::kAvx512) return run_avx512<Op>(args...);
  if (isa() == Isa::kAvx2) return run_avx2<Op>(args...);
#endif
  return Op::run(args...);
}

}  // namespace lancet
