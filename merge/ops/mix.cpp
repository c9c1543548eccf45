// The loops of vector.h that make one vector of many: sums stay in registers while the vectors
// pass.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "core/dispatch.h"
#include "merge/ops/vector.h"

namespace lancet::ops {
namespace {

using Size = std::size_t;
/// Registers of the instruction sets. (Wider vectors would be compared element by element.)
typedef double Two __attribute__((vector_size(16)));
typedef double Four __attribute__((vector_size(32)));
typedef double Eight __attribute__((vector_size(64)));

template <typename V>
constexpr Size kLanes = sizeof(V) / sizeof(double);

template <typename V>
LANCET_BODY void load(V& out, const double* at) {
  std::memcpy(&out, at, sizeof(V));
}
template <typename V>
LANCET_BODY void store(double* at, const V& value) {
  std::memcpy(at, &value, sizeof(V));
}

/// Op::at<V, K>(i, arguments...) for all elements: K registers at a time, then one, then the rest
/// one by one.
template <typename Op, typename V>
struct Each {
  template <typename... Args>
  LANCET_BODY static void run(Size n, Args... args) {
    constexpr Size kWide = Op::kRegisters * kLanes<V>;
    Size i = 0;
    for (; i + kWide <= n; i += kWide) Op::template at<V, Op::kRegisters>(i, args...);
    for (; i + kLanes<V> <= n; i += kLanes<V>) Op::template at<V, 1>(i, args...);
    for (; i < n; ++i) Op::template at<double, 1>(i, args...);
  }
};
template <typename Op, typename... Args>
void for_all(Size n, Args... args) {
#if defined(__x86_64__)
  if (isa() == Isa::kAvx512) return run_avx512<Each<Op, Eight>>(n, args...);
  if (isa() == Isa::kAvx2) return run_avx2<Each<Op, Four>>(n, args...);
#endif
  Each<Op, Two>::run(n, args...);
}

struct Weigh {
  static constexpr Size kRegisters = 4;
  template <typename V, Size K>
  LANCET_BODY static void at(Size i, double* out, const Out* vectors, const double* weights,
                             Size count, double factor, const double* base) {
    V sum[K] = {}, x;
    for (Size v = 0; v < count; ++v) {
      const double* from = vectors[v].data() + i;
      const V weight = V{} + weights[v];
#pragma GCC unroll 4
      for (Size k = 0; k < K; ++k) {
        load(x, from + k * kLanes<V>);
        sum[k] += weight * x;
      }
    }
#pragma GCC unroll 4
    for (Size k = 0; k < K; ++k) {
      sum[k] *= factor;
      if (base != nullptr) {
        load(x, base + i + k * kLanes<V>);
        sum[k] += x;
      }
      store(out + i + k * kLanes<V>, sum[k]);
    }
  }
};

struct Variance {
  static constexpr Size kRegisters = 4;
  template <typename V, Size K>
  LANCET_BODY static void at(Size i, double* out, const Out* vectors, Size count, double share) {
    V mean[K] = {}, sum[K] = {}, x;
    for (Size v = 0; v < count; ++v) {
#pragma GCC unroll 4
      for (Size k = 0; k < K; ++k) {
        load(x, vectors[v].data() + i + k * kLanes<V>);
        mean[k] += share * x;
      }
    }
    for (Size v = 0; v < count; ++v) {
#pragma GCC unroll 4
      for (Size k = 0; k < K; ++k) {
        load(x, vectors[v].data() + i + k * kLanes<V>);
        x -= mean[k];
        sum[k] += x * x;
      }
    }
#pragma GCC unroll 4
    for (Size k = 0; k < K; ++k) {
      sum[k] *= share;
      store(out + i + k * kLanes<V>, sum[k]);
    }
  }
};

struct Elect {
  static constexpr Size kRegisters = 2;
  template <typename V, Size K>
  LANCET_BODY static void at(Size i, double* out, const double* base, const Vote* votes, Size count,
                             const Election* election) {
    const Election& e = *election;
    const V zero{}, one = zero + 1.0;
    V sign[K] = {}, mixed[K] = {}, divisor[K] = {}, value;
    for (Size v = 0; v < count; ++v) {
      const V factor = zero + votes[v].factor;
      const V weight = e.by_values ? one : zero + votes[v].weight;
#pragma GCC unroll 2
      for (Size k = 0; k < K; ++k) {
        load(value, votes[v].delta + i + k * kLanes<V>);
        sign[k] += weight * (factor * value);
      }
    }
#pragma GCC unroll 2
    for (Size k = 0; k < K; ++k) sign[k] = sign[k] >= zero ? one : -one;
    for (Size v = 0; v < count; ++v) {
      const V factor = zero + votes[v].factor, weight = zero + votes[v].weight;
      const V elects = e.by_values ? one : weight;
#pragma GCC unroll 2
      for (Size k = 0; k < K; ++k) {
        load(value, votes[v].delta + i + k * kLanes<V>);
        value *= factor;
        const auto agrees = elects * value * sign[k] > zero;
        mixed[k] += agrees ? weight * value : zero;
        divisor[k] += agrees ? weight : zero;
      }
    }
    const V smallest = zero + e.smallest;
#pragma GCC unroll 2
    for (Size k = 0; k < K; ++k) {
      if (e.divide) {
        divisor[k] = divisor[k] < smallest ? smallest : divisor[k];
        divisor[k] += divisor[k] == zero ? one : zero;
        mixed[k] /= divisor[k];
      }
      load(value, base + i + k * kLanes<V>);
      value += mixed[k] * e.lambda;
      store(out + i + k * kLanes<V>, value);
    }
  }
};

/// For votes that agree: both, the first, the second, none.
using Divisors = std::array<double, 4>;

/// The same bits for two votes, all in registers. kProduct: `divisors` are the reciprocals.
template <bool kProduct>
struct ElectTwo {
  static constexpr Size kRegisters = 2;
  template <typename V, Size K>
  LANCET_BODY static void at(Size i, double* out, const double* base, const Vote* votes,
                             const Election* election, const double* divisors) {
    const V zero{}, one = zero + 1.0;
    const V factor0 = zero + votes[0].factor, weight0 = zero + votes[0].weight;
    const V factor1 = zero + votes[1].factor, weight1 = zero + votes[1].weight;
    const V both = zero + divisors[0], first = zero + divisors[1];
    const V second = zero + divisors[2], none = zero + divisors[3];
    const V lambda = zero + election->lambda;
#pragma GCC unroll 2
    for (Size k = 0; k < K; ++k) {
      V value0, value1, sum;
      load(value0, votes[0].delta + i + k * kLanes<V>);
      load(value1, votes[1].delta + i + k * kLanes<V>);
      value0 *= factor0;
      value1 *= factor1;
      const V part0 = weight0 * value0, part1 = weight1 * value1;
      const V by0 = election->by_values ? value0 : part0,
              by1 = election->by_values ? value1 : part1;
      const V sign = by0 + by1 >= zero ? one : -one;
      const auto agrees0 = by0 * sign > zero, agrees1 = by1 * sign > zero;
      V mixed = (agrees0 ? part0 : zero) + (agrees1 ? part1 : zero);
      const V with = agrees1 ? both : first, without = agrees1 ? second : none;
      const V divisor = agrees0 ? with : without;
      mixed = kProduct ? mixed * divisor : mixed / divisor;
      load(sum, base + i + k * kLanes<V>);
      sum += mixed * lambda;
      store(out + i + k * kLanes<V>, sum);
    }
  }
};

/// Its reciprocal is exact.
bool is_power_of_two(double x) {
  int exponent = 0;
  return std::fabs(std::frexp(x, &exponent)) == 0.5 && std::abs(exponent) < 1000;
}

void elect_two(Out out, In base, const Vote* votes, const Election& e) {
  const double a = votes[0].weight, b = votes[1].weight;
  Divisors divisors{a + b, a, b, 0};
  bool product = true;
  for (double& d : divisors) {
    if (e.divide) d = std::max(d, e.smallest);
    if (!e.divide || d == 0) d = 1;
    product = product && is_power_of_two(d);
  }
  if (product) {
    for (double& d : divisors) d = 1 / d;
    for_all<ElectTwo<true>>(out.size(), out.data(), base.data(), votes, &e, divisors.data());
  } else {
    for_all<ElectTwo<false>>(out.size(), out.data(), base.data(), votes, &e, divisors.data());
  }
}

}  // namespace

void weigh(Out out, std::span<const Out> vectors, std::span<const double> weights, double factor,
           In base) {
  for_all<Weigh>(out.size(), out.data(), vectors.data(), weights.data(), vectors.size(), factor,
                 base.data());
}
void variance(Out out, std::span<const Out> vectors) {
  for_all<Variance>(out.size(), out.data(), vectors.data(), vectors.size(),
                    1 / static_cast<double>(vectors.size()));
}
void elect(Out out, In base, std::span<const Vote> votes, const Election& election) {
  if (votes.size() == 2) return elect_two(out, base, votes.data(), election);
  for_all<Elect>(out.size(), out.data(), base.data(), votes.data(), votes.size(), &election);
}

}  // namespace lancet::ops
