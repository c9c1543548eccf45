#include "merge/ops/vector.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "core/dispatch.h"

// Bodies are always_inline so that each instruction set compiles its own copy.
#define LANCET_BODY [[gnu::always_inline]] static inline

namespace lancet::ops {
namespace {

using Size = std::size_t;
constexpr Size kLanes = 16;

struct Fill {
  LANCET_BODY void run(double* out, double value, Size n) {
    for (Size i = 0; i < n; ++i) out[i] = value;
  }
};
struct Add {
  LANCET_BODY void run(double* __restrict out, const double* __restrict x, Size n) {
    for (Size i = 0; i < n; ++i) out[i] += x[i];
  }
};
struct Subtract {
  LANCET_BODY void run(double* __restrict out, const double* __restrict x, Size n) {
    for (Size i = 0; i < n; ++i) out[i] -= x[i];
  }
};
struct Scale {
  LANCET_BODY void run(double* out, double factor, Size n) {
    for (Size i = 0; i < n; ++i) out[i] *= factor;
  }
};
struct AddScaled {
  LANCET_BODY void run(double* __restrict out, const double* __restrict x, double weight, Size n) {
    for (Size i = 0; i < n; ++i) out[i] += weight * x[i];
  }
};
struct Weigh {
  static constexpr Size kTile = 64;  ///< elements whose sums stay in registers or L1
  LANCET_BODY void run(double* __restrict out, const Out* vectors, const double* weights,
                       Size count, double factor, const double* base, Size n) {
    Size at = 0;
    for (; at + kTile <= n; at += kTile)
      tile(out, vectors, weights, count, factor, base, at, kTile);
    tile(out, vectors, weights, count, factor, base, at, n - at);
  }
  LANCET_BODY void tile(double* __restrict out, const Out* vectors, const double* weights,
                        Size count, double factor, const double* __restrict base, Size at, Size m) {
    double sum[kTile];
    for (Size i = 0; i < m; ++i) sum[i] = 0;
    for (Size v = 0; v < count; ++v) {
      const double* x = vectors[v].data() + at;
      const double weight = weights[v];
      for (Size i = 0; i < m; ++i) sum[i] += weight * x[i];
    }
    if (base == nullptr) {
      for (Size i = 0; i < m; ++i) out[at + i] = sum[i] * factor;
    } else {
      for (Size i = 0; i < m; ++i) out[at + i] = sum[i] * factor + base[at + i];
    }
  }
};
struct Multiply {
  LANCET_BODY void run(double* __restrict out, const double* __restrict x, Size n) {
    for (Size i = 0; i < n; ++i) out[i] *= x[i];
  }
};
struct DivideNonzero {
  LANCET_BODY void run(double* __restrict out, const double* __restrict x, Size n) {
    for (Size i = 0; i < n; ++i) out[i] /= x[i] == 0 ? 1.0 : x[i];
  }
};

LANCET_BODY double add_lanes(const double* lanes) {
  double half[kLanes / 2];
  for (Size l = 0; l < kLanes / 2; ++l) half[l] = lanes[l] + lanes[l + kLanes / 2];
  return ((half[0] + half[4]) + (half[2] + half[6])) + ((half[1] + half[5]) + (half[3] + half[7]));
}

struct Dot {
  LANCET_BODY double run(const double* a, const double* b, Size n) {
    double lanes[kLanes] = {};
    Size i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      for (Size l = 0; l < kLanes; ++l) lanes[l] += a[i + l] * b[i + l];
    }
    for (Size l = 0; i < n; ++i, ++l) lanes[l] += a[i] * b[i];
    return add_lanes(lanes);
  }
};
struct Sum {
  LANCET_BODY double run(const double* x, Size n) {
    double lanes[kLanes] = {};
    Size i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      for (Size l = 0; l < kLanes; ++l) lanes[l] += x[i + l];
    }
    for (Size l = 0; i < n; ++i, ++l) lanes[l] += x[i];
    return add_lanes(lanes);
  }
};
struct AbsSum {
  LANCET_BODY double run(const double* x, Size n) {
    double lanes[kLanes] = {};
    Size i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      for (Size l = 0; l < kLanes; ++l) lanes[l] += std::fabs(x[i + l]);
    }
    for (Size l = 0; i < n; ++i, ++l) lanes[l] += std::fabs(x[i]);
    return add_lanes(lanes);
  }
};

struct Variance {
  LANCET_BODY void run(double* __restrict out, const Out* vectors, Size count, Size n) {
    constexpr Size kTile = 32;
    const double share = 1 / static_cast<double>(count);
    for (Size at = 0; at < n; at += kTile) {
      const Size m = n - at < kTile ? n - at : kTile;
      double mean[kTile], sum[kTile];
      for (Size i = 0; i < kTile; ++i) mean[i] = sum[i] = 0;
      for (Size v = 0; v < count; ++v) {
        const double* x = vectors[v].data() + at;
        for (Size i = 0; i < m; ++i) mean[i] += share * x[i];
      }
      for (Size v = 0; v < count; ++v) {
        const double* x = vectors[v].data() + at;
        for (Size i = 0; i < m; ++i) sum[i] += (x[i] - mean[i]) * (x[i] - mean[i]);
      }
      for (Size i = 0; i < m; ++i) out[at + i] = sum[i] * share;
    }
  }
};
struct Elect {
  static constexpr Size kTile = 32;  ///< elements whose sums stay in registers or L1
  LANCET_BODY void run(double* __restrict out, const double* __restrict base, const Vote* votes,
                       Size count, const Election* election, Size n) {
    Size at = 0;
    for (; at + kTile <= n; at += kTile) tile(out, base, votes, count, *election, at, kTile);
    if (at < n) tile(out, base, votes, count, *election, at, n - at);
  }
  LANCET_BODY void tile(double* __restrict out, const double* __restrict base, const Vote* votes,
                        Size count, const Election& e, Size at, Size m) {
    double total[kTile], mixed[kTile], divisor[kTile];
    for (Size i = 0; i < m; ++i) total[i] = mixed[i] = divisor[i] = 0;
    for (Size v = 0; v < count; ++v) {
      const double* delta = votes[v].delta + at;
      const double factor = votes[v].factor, weight = e.by_values ? 1.0 : votes[v].weight;
      for (Size i = 0; i < m; ++i) total[i] += weight * (factor * delta[i]);
    }
    for (Size v = 0; v < count; ++v) {
      const double* delta = votes[v].delta + at;
      const double factor = votes[v].factor, weight = votes[v].weight;
      const double elects = e.by_values ? 1.0 : weight;
      for (Size i = 0; i < m; ++i) {
        const double value = factor * delta[i];
        const bool agrees = elects * value * (total[i] >= 0 ? 1.0 : -1.0) > 0;
        mixed[i] += agrees ? weight * value : 0.0;
        divisor[i] += agrees ? weight : 0.0;
      }
    }
    if (e.divide) {
      for (Size i = 0; i < m; ++i) {
        const double safe = divisor[i] < e.smallest ? e.smallest : divisor[i];
        divisor[i] = safe + (safe == 0 ? 1.0 : 0.0);
      }
      for (Size i = 0; i < m; ++i) mixed[i] /= divisor[i];
    }
    for (Size i = 0; i < m; ++i) out[at + i] = mixed[i] * e.lambda + base[at + i];
  }
};

}  // namespace

void fill(Out out, double value) { dispatch<Fill>(out.data(), value, out.size()); }
void copy(Out out, In x) { std::copy(x.begin(), x.end(), out.begin()); }
void add(Out out, In x) { dispatch<Add>(out.data(), x.data(), out.size()); }
void subtract(Out out, In x) { dispatch<Subtract>(out.data(), x.data(), out.size()); }
void scale(Out out, double factor) { dispatch<Scale>(out.data(), factor, out.size()); }
void add_scaled(Out out, In x, double weight) {
  dispatch<AddScaled>(out.data(), x.data(), weight, out.size());
}
void weigh(Out out, std::span<const Out> vectors, std::span<const double> weights, double factor,
           In base) {
  dispatch<Weigh>(out.data(), vectors.data(), weights.data(), vectors.size(), factor, base.data(),
                  out.size());
}
void multiply(Out out, In x) { dispatch<Multiply>(out.data(), x.data(), out.size()); }
void divide_nonzero(Out out, In x) { dispatch<DivideNonzero>(out.data(), x.data(), out.size()); }

double dot(In a, In b) { return dispatch<Dot>(a.data(), b.data(), a.size()); }
double sum(In x) { return dispatch<Sum>(x.data(), x.size()); }
double abs_sum(In x) { return dispatch<AbsSum>(x.data(), x.size()); }

void variance(Out out, std::span<const Out> vectors) {
  dispatch<Variance>(out.data(), vectors.data(), vectors.size(), out.size());
}
void elect(Out out, In base, std::span<const Vote> votes, const Election& election) {
  dispatch<Elect>(out.data(), base.data(), votes.data(), votes.size(), &election, out.size());
}

}  // namespace lancet::ops
