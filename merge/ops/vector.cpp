#include "merge/ops/vector.h"

#include <algorithm>
#include <bit>
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

struct AddAgreeing {
  LANCET_BODY void run(double* __restrict mixed, double* __restrict divisor,
                       const double* __restrict total, const double* __restrict term,
                       const double* __restrict value, double weight, Size n) {
    for (Size i = 0; i < n; ++i) {
      const double sign = total[i] >= 0 ? 1.0 : -1.0;
      const bool agrees = term[i] * sign > 0;
      mixed[i] += agrees ? value[i] : 0.0;
      divisor[i] += agrees ? weight : 0.0;
    }
  }
};

struct MagnitudeKeys {
  LANCET_BODY void run(std::uint32_t* __restrict keys, const double* __restrict x, Size n) {
    for (Size i = 0; i < n; ++i) {
      keys[i] = std::bit_cast<std::uint32_t>(static_cast<float>(x[i])) & 0x7FFFFFFFU;
    }
  }
};
struct KeepBetween {
  LANCET_BODY std::uint64_t run(double* __restrict x, const std::uint32_t* __restrict keys,
                                std::uint32_t low, std::uint32_t high, Size n) {
    std::uint32_t equal = 0;
    for (Size i = 0; i < n; ++i) {
      x[i] = keys[i] > low && keys[i] <= high ? x[i] : 0.0;
      equal += keys[i] == low ? 1U : 0U;
    }
    return equal;
  }
};
struct CountAbove {
  LANCET_BODY std::uint64_t run(const std::uint32_t* keys, std::uint32_t key, Size n) {
    std::uint32_t count = 0;
    for (Size i = 0; i < n; ++i) count += keys[i] > key ? 1U : 0U;
    return count;
  }
};
struct CountEqual {
  LANCET_BODY std::uint64_t run(const std::uint32_t* keys, std::uint32_t key, Size n) {
    std::uint32_t count = 0;
    for (Size i = 0; i < n; ++i) count += keys[i] == key ? 1U : 0U;
    return count;
  }
};
struct KeepRandom {
  LANCET_BODY void run(double* __restrict x, const float* __restrict chance, double keep, Size n) {
    for (Size i = 0; i < n; ++i) x[i] = static_cast<double>(chance[i]) < keep ? x[i] : 0.0;
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
void multiply(Out out, In x) { dispatch<Multiply>(out.data(), x.data(), out.size()); }
void divide_nonzero(Out out, In x) { dispatch<DivideNonzero>(out.data(), x.data(), out.size()); }

double dot(In a, In b) { return dispatch<Dot>(a.data(), b.data(), a.size()); }
double sum(In x) { return dispatch<Sum>(x.data(), x.size()); }
double abs_sum(In x) { return dispatch<AbsSum>(x.data(), x.size()); }

void add_agreeing(Out mixed, Out divisor, In total, In term, In value, double weight) {
  dispatch<AddAgreeing>(mixed.data(), divisor.data(), total.data(), term.data(), value.data(),
                        weight, mixed.size());
}

void magnitude_keys(std::span<std::uint32_t> keys, In x) {
  dispatch<MagnitudeKeys>(keys.data(), x.data(), x.size());
}
std::uint64_t keep_between(Out x, std::span<const std::uint32_t> keys, std::uint32_t low,
                           std::uint32_t high) {
  return dispatch<KeepBetween>(x.data(), keys.data(), low, high, x.size());
}
std::uint64_t count_above(std::span<const std::uint32_t> keys, std::uint32_t key) {
  return dispatch<CountAbove>(keys.data(), key, keys.size());
}
std::uint64_t count_equal(std::span<const std::uint32_t> keys, std::uint32_t key) {
  return dispatch<CountEqual>(keys.data(), key, keys.size());
}
void keep_random(Out x, std::span<const float> chance, double keep) {
  dispatch<KeepRandom>(x.data(), chance.data(), keep, x.size());
}

}  // namespace lancet::ops
