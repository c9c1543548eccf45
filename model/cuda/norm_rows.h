#pragma once
// Rows of RMS norm and of its gradient, [d] each. Zhang and Sennrich 2019, arXiv:1910.07467.
//   rstd = 1 / sqrt(mean(x^2) + eps),  y = x * rstd * weight
//   g = dy * weight,  dx = rstd * (g - x * rstd^2 * mean(g * x)) + plus
// The backward pass computes rstd again instead of reading it. Sums run in float32 within a thread,
// in float64 across threads; 1 / sqrt in float64.

#include "model/cuda/choice.h"

namespace lancet::fused {

template <class Job, class Run>
int choose_norm(const Job& job, bool packed, const Run& run) {
  packed = packed && whole_packs(job.weight, job.d, job.d, kWidth, size_of(job.weight_type));
  return job.d <= kShort ? with_types<kFewThreads>(job.type, job.weight_type, packed, run)
                         : with_types<kThreads>(job.type, job.weight_type, packed, run);
}
template <class Run>
int choose(const RmsNorm& job, const Run& run) {
  const auto whole = [&](const void* p) {
    return whole_packs(p, job.d, job.d, kWidth, size_of(job.type));
  };
  return choose_norm(job, whole(job.x) && whole(job.y), run);
}
template <class Run>
int choose(const RmsNormBackward& job, const Run& run) {
  const auto whole = [&](const void* p) {
    return whole_packs(p, job.d, job.d, kWidth, size_of(job.type));
  };
  const bool packed = whole(job.x) && whole(job.dy) && whole(job.plus) && whole(job.dx);
  return choose_norm(job, packed, run);
}

template <class C, class Team>
LANCET_BOTH void run_row(C, Team& team, const RmsNorm& job, std::int64_t row) {
  using T = typename C::Value;
  constexpr int kPack = C::kWidth;
  const T* const x = static_cast<const T*>(job.x) + row * job.d;
  const auto* const weight = static_cast<const typename C::Weight*>(job.weight);
  T* const y = static_cast<T*>(job.y) + row * job.d;
  const Two squares = reduce(team, Add{}, [&](int t) {
    float sum = 0;
    for_packs<Team, kPack>(t, job.d, [&](std::int64_t i) {
      const auto pack = load<kPack>(x + i);
      for (int j = 0; j < kPack; ++j) sum = fmaf(widen(pack.v[j]), widen(pack.v[j]), sum);
    });
    return Two{static_cast<double>(sum), 0};
  });
  const double mean = squares.a / static_cast<double>(job.d);
  const auto rstd = static_cast<float>(1.0 / sqrt(mean + static_cast<double>(job.eps)));
  team.each([&](int t) {
    for_packs<Team, kPack>(t, job.d, [&](std::int64_t i) {
      const auto pack = load<kPack>(x + i);
      const auto by = load<kPack>(weight + i);
      Pack<T, kPack> out;
      for (int j = 0; j < kPack; ++j) {
        const float scaled = widen(pack.v[j]) * rstd;
        const float left = job.scale_before_cast ? scaled : widen(narrow<T>(scaled));
        out.v[j] = narrow<T>(left * widen(by.v[j]));
      }
      store<kPack>(y + i, out);
    });
  });
}

template <class C, class Team>
LANCET_BOTH void run_row(C, Team& team, const RmsNormBackward& job, std::int64_t row) {
  using T = typename C::Value;
  constexpr int kPack = C::kWidth;
  const T* const x = static_cast<const T*>(job.x) + row * job.d;
  const T* const dy = static_cast<const T*>(job.dy) + row * job.d;
  const T* const plus =
      job.plus == nullptr ? nullptr : static_cast<const T*>(job.plus) + row * job.d;
  const auto* const weight = static_cast<const typename C::Weight*>(job.weight);
  T* const dx = static_cast<T*>(job.dx) + row * job.d;
  const Two sums = reduce(team, Add{}, [&](int t) {
    float squares = 0, products = 0;
    for_packs<Team, kPack>(t, job.d, [&](std::int64_t i) {
      const auto value = load<kPack>(x + i);
      const auto slope = load<kPack>(dy + i);
      const auto by = load<kPack>(weight + i);
      for (int j = 0; j < kPack; ++j) {
        const float v = widen(value.v[j]);
        squares = fmaf(v, v, squares);
        products = fmaf(widen(slope.v[j]) * widen(by.v[j]), v, products);
      }
    });
    return Two{static_cast<double>(squares), static_cast<double>(products)};
  });
  const auto d = static_cast<double>(job.d);
  const double rstd = 1.0 / sqrt(sums.a / d + static_cast<double>(job.eps));
  const auto across = static_cast<float>(rstd * rstd * sums.b / d);
  const auto scale = static_cast<float>(rstd);
  team.each([&](int t) {
    for_packs<Team, kPack>(t, job.d, [&](std::int64_t i) {
      const auto value = load<kPack>(x + i);
      const auto slope = load<kPack>(dy + i);
      const auto by = load<kPack>(weight + i);
      Pack<T, kPack> other{};
      if (plus != nullptr) other = load<kPack>(plus + i);
      Pack<T, kPack> out;
      for (int j = 0; j < kPack; ++j) {
        const float g = widen(slope.v[j]) * widen(by.v[j]);
        const float back = scale * (g - across * widen(value.v[j]));
        out.v[j] = narrow<T>(plus == nullptr ? back : back + widen(other.v[j]));
      }
      store<kPack>(dx + i, out);
    });
  });
}

}  // namespace lancet::fused
