#pragma once
// Rows of SwiGLU and of its gradient, [d] each. Shazeer 2020, arXiv:2002.05202.
//   s = 1 / (1 + exp(-gate)),  y = gate * s * up
//   d_up = dy * gate * s,  d_gate = dy * up * s * (1 + gate * (1 - s))
// In float32 with one rounding.

#include "model/cuda/choice.h"

namespace lancet::fused {

template <class Run>
int choose(const Swiglu& job, const Run& run) {
  const auto whole = [&](const void* p, std::int64_t stride) {
    return whole_packs(p, stride, job.d, kWidth, size_of(job.type));
  };
  const bool packed =
      whole(job.gate, job.ld_gate) && whole(job.up, job.ld_up) && whole(job.y, job.d);
  return with_types<kThreads>(job.type, job.type, packed, run);
}
template <class Run>
int choose(const SwigluBackward& job, const Run& run) {
  const auto whole = [&](const void* p, std::int64_t stride) {
    return whole_packs(p, stride, job.d, kWidth, size_of(job.type));
  };
  const bool packed = whole(job.gate, job.ld_gate) && whole(job.up, job.ld_up) &&
                      whole(job.dy, job.d) && whole(job.d_gate, job.d) && whole(job.d_up, job.d);
  return with_types<kThreads>(job.type, job.type, packed, run);
}

template <class C, class Team>
LANCET_BOTH void run_row(C, Team& team, const Swiglu& job, std::int64_t row) {
  using T = typename C::Value;
  constexpr int kPack = C::kWidth;
  const T* const gate = static_cast<const T*>(job.gate) + row * job.ld_gate;
  const T* const up = static_cast<const T*>(job.up) + row * job.ld_up;
  T* const y = static_cast<T*>(job.y) + row * job.d;
  team.each([&](int t) {
    for_packs<Team, kPack>(t, job.d, [&](std::int64_t i) {
      const auto g = load<kPack>(gate + i);
      const auto u = load<kPack>(up + i);
      Pack<T, kPack> out;
      for (int j = 0; j < kPack; ++j) {
        const float v = widen(g.v[j]);
        out.v[j] = narrow<T>(v / (1.0F + exp_of(-v)) * widen(u.v[j]));
      }
      store<kPack>(y + i, out);
    });
  });
}

template <class C, class Team>
LANCET_BOTH void run_row(C, Team& team, const SwigluBackward& job, std::int64_t row) {
  using T = typename C::Value;
  constexpr int kPack = C::kWidth;
  const T* const gate = static_cast<const T*>(job.gate) + row * job.ld_gate;
  const T* const up = static_cast<const T*>(job.up) + row * job.ld_up;
  const T* const dy = static_cast<const T*>(job.dy) + row * job.d;
  T* const d_gate = static_cast<T*>(job.d_gate) + row * job.d;
  T* const d_up = static_cast<T*>(job.d_up) + row * job.d;
  team.each([&](int t) {
    for_packs<Team, kPack>(t, job.d, [&](std::int64_t i) {
      const auto g = load<kPack>(gate + i);
      const auto u = load<kPack>(up + i);
      const auto slope = load<kPack>(dy + i);
      Pack<T, kPack> to_gate, to_up;
      for (int j = 0; j < kPack; ++j) {
        const float v = widen(g.v[j]), by = widen(slope.v[j]);
        const float s = 1.0F / (1.0F + exp_of(-v));
        to_up.v[j] = narrow<T>(by * (v * s));
        to_gate.v[j] = narrow<T>(by * widen(u.v[j]) * (s * fmaf(v, 1.0F - s, 1.0F)));
      }
      store<kPack>(d_gate + i, to_gate);
      store<kPack>(d_up + i, to_up);
    });
  });
}

}  // namespace lancet::fused
