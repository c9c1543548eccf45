#pragma once
// Rows of rotary embeddings, [heads, d_head]. Su et al. 2021, arXiv:2104.09864.
//   (a, b) -> (a cos - b sin, b cos + a sin), each pair of the first `dims` elements of a head
// In float32 with one rounding; LibTorch's operators round cos and sin to bfloat16, too.

#include "model/cuda/choice.h"

namespace lancet::fused {

template <class Run>
int choose(const Rotation& job, const Run& run) {
  return with_types<kThreads>(job.type, job.type, false, run);
}

/// A thread takes whole pairs, so that y may be x.
template <class C, class Team>
LANCET_BOTH void run_row(C, Team& team, const Rotation& job, std::int64_t row) {
  using T = typename C::Value;
  const T* const x = static_cast<const T*>(job.x) + row * job.ldx;
  T* const y = static_cast<T*>(job.y) + row * job.ldy;
  const std::int64_t half = job.dims / 2;
  const std::int64_t kept = job.d_head - job.dims;
  const float* const cos = job.cos + job.positions[row] * half;
  const float* const sin = job.sin + job.positions[row] * half;
  team.each([&](int t) {
    for_packs<Team, 1>(t, job.heads * half, [&](std::int64_t k) {
      const std::int64_t i = k % half;
      const std::int64_t first = k / half * job.d_head + (job.interleaved ? 2 * i : i);
      const std::int64_t second = first + (job.interleaved ? 1 : half);
      const float a = widen(x[first]), b = widen(x[second]);
      const float c = cos[i], s = job.inverse ? -sin[i] : sin[i];
      y[first] = narrow<T>(a * c - b * s);
      y[second] = narrow<T>(b * c + a * s);
    });
    for_packs<Team, 1>(t, job.heads * kept, [&](std::int64_t k) {
      const std::int64_t at = k / kept * job.d_head + job.dims + k % kept;
      y[at] = x[at];
    });
  });
}

}  // namespace lancet::fused
