#include "merge/ops/vector.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "core/dispatch.h"

namespace lancet::ops {
namespace {

using Size = std::size_t;
constexpr Size kLanes = 16;

struct Fill {
  LANCET_BODY static void run(double* out, double value, Size n) {
    for (Size i = 0; i < n; ++i) out[i] = value;
  }
};
struct Add {
  LANCET_BODY static void run(double* __restrict out, const double* __restrict x, Size n) {
    for (Size i = 0; i < n; ++i) out[i] += x[i];
  }
};
struct Subtract {
  LANCET_BODY static void run(double* __restrict out, const double* __restrict x, Size n) {
    for (Size i = 0; i < n; ++i) out[i] -= x[i];
  }
};
struct Scale {
  LANCET_BODY static void run(double* out, double factor, Size n) {
    for (Size i = 0; i < n; ++i) out[i] *= factor;
  }
};
struct AddScaled {
  LANCET_BODY static void run(double* __restrict out, const double* __restrict x, double weight,
                              Size n) {
    for (Size i = 0; i < n; ++i) out[i] += weight * x[i];
  }
};
struct Multiply {
  LANCET_BODY static void run(double* __restrict out, const double* __restrict x, Size n) {
    for (Size i = 0; i < n; ++i) out[i] *= x[i];
  }
};
struct DivideNonzero {
  LANCET_BODY static void run(double* __restrict out, const double* __restrict x, Size n) {
    for (Size i = 0; i < n; ++i) out[i] /= x[i] == 0 ? 1.0 : x[i];
  }
};

LANCET_BODY double add_lanes(const double* lanes) {
  double half[kLanes / 2];
  for (Size l = 0; l < kLanes / 2; ++l) half[l] = lanes[l] + lanes[l + kLanes / 2];
  return ((half[0] + half[4]) + (half[2] + half[6])) + ((half[1] + half[5]) + (half[3] + half[7]));
}

struct Dot {
  LANCET_BODY static double run(const double* a, const double* b, Size n) {
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
  LANCET_BODY static double run(const double* x, Size n) {
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
  LANCET_BODY static double run(const double* x, Size n) {
    double lanes[kLanes] = {};
    Size i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      for (Size l = 0; l < kLanes; ++l) lanes[l] += std::fabs(x[i + l]);
    }
    for (Size l = 0; i < n; ++i, ++l) lanes[l] += std::fabs(x[i]);
    return add_lanes(lanes);
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

}  // namespace lancet::ops
