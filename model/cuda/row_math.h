#pragma once
// The arithmetic that a GPU and its twin on the CPU share: numbers, packs of them, and sums whose
// order is fixed. Compiled by nvcc with -fmad=false and by the host compiler without contraction,
// so that both round every operation alike; log alone is each library's own (float64).
//
// A row is the work of a team of kThreads. Code of a row runs once for every thread on a GPU and
// once for all on the CPU; what a thread does by itself stands in team.each(), which ends with a
// barrier. The teams are in device_team.cuh and twins.cpp.

#include <cmath>
#include <cstdint>
#include <cstring>

#include "model/cuda/jobs.h"

#ifdef __CUDACC__
#define LANCET_BOTH __host__ __device__ inline
#else
#define LANCET_BOTH inline
#endif

namespace lancet::fused {

struct BFloat16 {
  std::uint16_t bits;
};

template <class To, class From>
LANCET_BOTH To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

LANCET_BOTH float widen(float x) { return x; }
LANCET_BOTH float widen(BFloat16 x) {
  return bits_as<float>(static_cast<std::uint32_t>(x.bits) << 16U);
}

/// Rounded to nearest, ties to even; NaN is 0x7fc0, as at::BFloat16 has it.
template <class T>
LANCET_BOTH T narrow(float x);
template <>
LANCET_BOTH float narrow<float>(float x) {
  return x;
}
template <>
LANCET_BOTH BFloat16 narrow<BFloat16>(float x) {
  if (x != x) return {0x7fc0};
  const auto bits = bits_as<std::uint32_t>(x);
  return {static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16U) & 1U)) >> 16U)};
}

/// kWidth neighbours that are read and written at once.
template <class T, int kWidth>
struct alignas(sizeof(T) * kWidth) Pack {
  T v[kWidth];
};

template <int kWidth, class T>
LANCET_BOTH Pack<T, kWidth> load(const T* from) {
  return *reinterpret_cast<const Pack<T, kWidth>*>(from);
}
template <int kWidth, class T>
LANCET_BOTH void store(T* to, const Pack<T, kWidth>& pack) {
  *reinterpret_cast<Pack<T, kWidth>*>(to) = pack;
}

/// exp of model/kernels: x = n ln 2 + r with ln 2 in two parts, Taylor series of degree 7 on
/// |r| <= ln 2 / 2 (error 2^-27), scaled in two steps, so that subnormal results are right.
LANCET_BOTH float exp_of(float x) {
  constexpr float kMagic = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  if (x != x) return x;
  x = x > 89.0F ? 89.0F : x;  // exp is inf and 0 there
  x = x < -104.0F ? -104.0F : x;
  const float t = fmaf(x, 1.44269504F, kMagic);
  const float n = t - kMagic;
  float r = fmaf(n, -0.693359375F, x);  // exact: 355 / 512
  r = fmaf(n, 2.12194440e-4F, r);
  float p = fmaf(1.0F / 5040, r, 1.0F / 720);
  p = fmaf(p, r, 1.0F / 120);
  p = fmaf(p, r, 1.0F / 24);
  p = fmaf(p, r, 1.0F / 6);
  p = fmaf(p, r, 0.5F);
  p = fmaf(p, r * r, r) + 1.0F;
  const int power = static_cast<int>(bits_as<std::uint32_t>(t)) - 0x4b400000;
  const int half = power >> 1;
  const float first = bits_as<float>(static_cast<std::uint32_t>(half + 127) << 23U);
  const float second = bits_as<float>(static_cast<std::uint32_t>(power - half + 127) << 23U);
  return p * first * second;
}

/// Near 0, where 1 - 2 / (exp(2x) + 1) loses digits, the Taylor series (error 2^-30 at 0.2).
LANCET_BOTH float tanh_of(float x) {
  if (x < 0.2F && x > -0.2F) {
    const float s = x * x;
    float p = fmaf(62.0F / 2835, s, -17.0F / 315);
    p = fmaf(p, s, 2.0F / 15);
    p = fmaf(p, s, -1.0F / 3);
    return fmaf(p * s, x, x);
  }
  return 1.0F - 2.0F / (exp_of(2.0F * x) + 1.0F);
}

/// What a thread hands to a sum or to a maximum (of `a` alone).
struct Two {
  double a, b;
};
struct Add {
  LANCET_BOTH Two operator()(const Two& x, const Two& y) const { return {x.a + y.a, x.b + y.b}; }
};
struct Larger {
  LANCET_BOTH Two operator()(const Two& x, const Two& y) const { return x.a > y.a ? x : y; }
};

/// part(thread) of all threads by one tree: thread t takes that of t + half, half = kThreads / 2,
/// ..., 1.
template <class Team, class Operation, class Part>
LANCET_BOTH Two reduce(Team& team, const Operation& operation, const Part& part) {
  Two* const slots = team.slots();
  team.each([&](int t) { slots[t] = part(t); });
  for (int half = Team::kThreads / 2; half > 0; half /= 2) {
    team.each([&](int t) {
      if (t < half) slots[t] = operation(slots[t], slots[t + half]);
    });
  }
  const Two out = slots[0];
  team.barrier();
  return out;
}

/// body(i) for the packs of thread t in a row of n elements: i is the first element of a pack.
template <class Team, int kWidth, class Body>
LANCET_BOTH void for_packs(int t, std::int64_t n, const Body& body) {
  for (std::int64_t i = static_cast<std::int64_t>(t) * kWidth; i < n; i += Team::kThreads * kWidth)
    body(i);
}

/// Whether rows of this length and distance from this address on are made of whole packs of
/// `width` elements of `size` bytes.
inline bool whole_packs(const void* begin, std::int64_t stride, std::int64_t n, int width,
                        std::size_t size) {
  const auto address = reinterpret_cast<std::uintptr_t>(begin);
  return address % (static_cast<std::size_t>(width) * size) == 0 && stride % width == 0 &&
         n % width == 0;
}

}  // namespace lancet::fused
