// The loops of vector.h that make one vector of many: sums stay in registers while the vectors
// pass.
#include <cstring>

#include "core/dispatch.h"
#include "merge/ops/vector.h"

#define LANCET_BODY [[gnu::always_inline]] static inline

namespace lancet::ops {
namespace {

using Size = std::size_t;
/// Eight elements; compiled to registers of the instruction set in use.
typedef double Eight __attribute__((vector_size(64)));
constexpr Size kEight = 8;

template <typename V>
LANCET_BODY void load(V& out, const double* at) {
  std::memcpy(&out, at, sizeof(V));
}
template <typename V>
LANCET_BODY void store(double* at, const V& value) {
  std::memcpy(at, &value, sizeof(V));
}

/// Op::at<V>(i, arguments...) for all elements: eight at a time, the rest one by one.
template <typename Op, typename... Args>
LANCET_BODY void for_all(Size n, const Args&... args) {
  Size i = 0;
  for (; i + kEight <= n; i += kEight) Op::template at<Eight>(i, args...);
  for (; i < n; ++i) Op::template at<double>(i, args...);
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
  LANCET_BODY void run(double* out, const Out* vectors, const double* weights, Size count,
                       double factor, const double* base, Size n) {
    for_all<Weigh>(n, out, vectors, weights, count, factor, base);
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
  LANCET_BODY void run(double* out, const Out* vectors, Size count, Size n) {
    for_all<Variance>(n, out, vectors, count, 1 / static_cast<double>(count));
  }
};

struct Elect {
  template <typename V>
  LANCET_BODY void at(Size i, double* out, const double* base, const Vote* votes, Size count,
                      const Election& e) {
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
  LANCET_BODY void run(double* out, const double* base, const Vote* votes, Size count,
                       const Election* election, Size n) {
    for_all<Elect>(n, out, base, votes, count, *election);
  }
};

}  // namespace

void weigh(Out out, std::span<const Out> vectors, std::span<const double> weights, double factor,
           In base) {
  dispatch<Weigh>(out.data(), vectors.data(), weights.data(), vectors.size(), factor, base.data(),
                  out.size());
}
void variance(Out out, std::span<const Out> vectors) {
  dispatch<Variance>(out.data(), vectors.data(), vectors.size(), out.size());
}
void elect(Out out, In base, std::span<const Vote> votes, const Election& election) {
  dispatch<Elect>(out.data(), base.data(), votes.data(), votes.size(), &election, out.size());
}

}  // namespace lancet::ops
