// The loops of vector.h that make one vector of many: sums stay in registers while the vectors
// pass.
#include <cstring>

#include "core/dispatch.h"
#include "merge/ops/vector.h"

#define LANCET_BODY [[gnu::always_inline]] static inline

namespace lancet::ops {
namespace {

using Size = std::size_t;
/// Registers of the instruction sets. (Wider vectors would be compared element by element.)
typedef double Two __attribute__((vector_size(16)));
typedef double Four __attribute__((vector_size(32)));
typedef double Eight __attribute__((vector_size(64)));

template <typename V>
LANCET_BODY void load(V& out, const double* at) {
  std::memcpy(&out, at, sizeof(V));
}
template <typename V>
LANCET_BODY void store(double* at, const V& value) {
  std::memcpy(at, &value, sizeof(V));
}

/// Op::at<V>(i, arguments...) for all elements: a register at a time, the rest one by one.
template <typename Op, typename V>
struct Each {
  template <typename... Args>
  LANCET_BODY void run(Size n, Args... args) {
    constexpr Size kWidth = sizeof(V) / sizeof(double);
    Size i = 0;
    for (; i + kWidth <= n; i += kWidth) Op::template at<V>(i, args...);
    for (; i < n; ++i) Op::template at<double>(i, args...);
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
  template <typename V>
  LANCET_BODY void at(Size i, double* out, const Out* vectors, const double* weights, Size count,
                      double factor, const double* base) {
    V sum{}, x;
    for (Size v = 0; v < count; ++v) {
      load(x, vectors[v].data() + i);
      sum += weights[v] * x;
    }
    sum *= factor;
    if (base != nullptr) {
      load(x, base + i);
      sum += x;
    }
    store(out + i, sum);
  }
};

struct Variance {
  template <typename V>
  LANCET_BODY void at(Size i, double* out, const Out* vectors, Size count, double share) {
    V mean{}, sum{}, x;
    for (Size v = 0; v < count; ++v) {
      load(x, vectors[v].data() + i);
      mean += share * x;
    }
    for (Size v = 0; v < count; ++v) {
      load(x, vectors[v].data() + i);
      x -= mean;
      sum += x * x;
    }
    sum *= share;
    store(out + i, sum);
  }
};

struct Elect {
  template <typename V>
  LANCET_BODY void at(Size i, double* out, const double* base, const Vote* votes, Size count,
                      const Election* election) {
    const Election& e = *election;
    const V zero{}, one = zero + 1.0;
    V total{}, value;
    for (Size v = 0; v < count; ++v) {
      load(value, votes[v].delta + i);
      total += (e.by_values ? 1.0 : votes[v].weight) * (votes[v].factor * value);
    }
    const V sign = total >= zero ? one : -one;
    V mixed{}, divisor{};
    for (Size v = 0; v < count; ++v) {
      load(value, votes[v].delta + i);
      value *= votes[v].factor;
      const V weight = zero + votes[v].weight, elects = e.by_values ? one : weight;
      const auto agrees = elects * value * sign > zero;
      mixed += agrees ? weight * value : zero;
      divisor += agrees ? weight : zero;
    }
    if (e.divide) {
      const V smallest = zero + e.smallest;
      divisor = divisor < smallest ? smallest : divisor;
      divisor += divisor == zero ? one : zero;
      mixed /= divisor;
    }
    load(value, base + i);
    value += mixed * e.lambda;
    store(out + i, value);
  }
};

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
  for_all<Elect>(out.size(), out.data(), base.data(), votes.data(), votes.size(), &election);
}

}  // namespace lancet::ops
