#pragma once
// Rows of cross-entropy and of its gradient, [vocab].
//   z = cap * tanh(scale * x / cap) (no cap: scale * x; masked: the lowest float)
//   loss = logsumexp(z) - z[target],  dx_j = weight * (softmax(z)_j - [j = target]) * dz_j / dx_j
// Exponentials and a thread's sum in float32, sums across threads and the loss in float64. A row is
// read three times.

#include <cfloat>

#include "model/cuda/choice.h"

namespace lancet::fused {

template <class Run>
int choose(const CrossEntropy& job, const Run& run) {
  const bool packed = whole_packs(job.logits, job.vocab, job.vocab, kWidth, size_of(job.type));
  return with_types<kManyThreads>(job.type, job.type, packed, run);
}

LANCET_BOTH bool is_masked(const CrossEntropy& job, std::int64_t id) {
  for (std::int64_t i = 0; i < job.masked_ranges; ++i) {
    if (id >= job.masked[2 * i] && id < job.masked[2 * i + 1]) return true;
  }
  return false;
}

/// The logit of `id` as the loss sees it.
LANCET_BOTH float shaped(const CrossEntropy& job, float x, std::int64_t id) {
  if (is_masked(job, id)) return -FLT_MAX;
  const float z = x * job.scale;
  return job.softcap == 0 ? z : tanh_of(z / job.softcap) * job.softcap;
}

/// d shaped / d logit where shaped is z.
LANCET_BOTH float shape_slope(const CrossEntropy& job, float z, std::int64_t id) {
  if (is_masked(job, id)) return 0;
  if (job.softcap == 0) return job.scale;
  const float t = z / job.softcap;
  return job.scale * (1.0F - t * t);
}

/// The target's logit is read before the first barrier, since its gradient takes its place.
template <class C, class Team>
LANCET_BOTH void run_row(C, Team& team, const CrossEntropy& job, std::int64_t row) {
  using T = typename C::Value;
  constexpr int kPack = C::kWidth;
  T* const logits = static_cast<T*>(job.logits) + row * job.vocab;
  const std::int32_t target = job.targets[row];
  const bool counts = target >= 0;
  const float aim = counts ? shaped(job, widen(logits[target]), target) : 0;
  const Two most = reduce(team, Larger{}, [&](int t) {
    float high = -FLT_MAX;
    for_packs<Team, kPack>(t, job.vocab, [&](std::int64_t i) {
      const auto pack = load<kPack>(logits + i);
      for (int j = 0; j < kPack; ++j) {
        const float z = shaped(job, widen(pack.v[j]), i + j);
        high = z > high ? z : high;
      }
    });
    return Two{static_cast<double>(high), 0};
  });
  const auto shift = static_cast<float>(most.a);
  const Two sum = reduce(team, Add{}, [&](int t) {
    float part = 0;
    for_packs<Team, kPack>(t, job.vocab, [&](std::int64_t i) {
      const auto pack = load<kPack>(logits + i);
      for (int j = 0; j < kPack; ++j) part += exp_of(shaped(job, widen(pack.v[j]), i + j) - shift);
    });
    return Two{static_cast<double>(part), 0};
  });
  const auto share = static_cast<float>(1.0 / sum.a);
  const float weight = job.weights == nullptr ? 1.0F : job.weights[row];
  team.each([&](int t) {
    if (t == 0) job.losses[row] = counts ? most.a + log(sum.a) - static_cast<double>(aim) : 0;
    if (!job.gradient) return;
    for_packs<Team, kPack>(t, job.vocab, [&](std::int64_t i) {
      auto pack = load<kPack>(logits + i);
      for (int j = 0; j < kPack; ++j) {
        const float z = shaped(job, widen(pack.v[j]), i + j);
        const float p = exp_of(z - shift) * share - (i + j == target ? 1.0F : 0.0F);
        const float slope = p * weight * shape_slope(job, z, i + j);
        pack.v[j] = narrow<T>(counts ? slope : 0.0F);
      }
      store<kPack>(logits + i, pack);
    });
  });
}

}  // namespace lancet::fused
