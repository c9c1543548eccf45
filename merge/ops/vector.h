#pragma once
// Element-wise arithmetic on blocks of float64, and sums over them. Every function gives the same
// bits whatever the instruction set (core/dispatch.h). Spans of one call have equal size.

#include <cmath>
#include <cstdint>
#include <span>

namespace lancet::ops {

using In = std::span<const double>;
using Out = std::span<double>;

void fill(Out out, double value);
void copy(Out out, In x);
/// out += x, out -= x, out *= factor, out += weight * x.
void add(Out out, In x);
void subtract(Out out, In x);
void scale(Out out, double factor);
void add_scaled(Out out, In x, double weight);
/// out = factor sum_i weights_i x_i, and the base where there is one.
void weigh(Out out, std::span<const Out> vectors, std::span<const double> weights,
           double factor = 1, In base = {});
/// out *= x; out /= x where x is not 0 (elsewhere unchanged).
void multiply(Out out, In x);
void divide_nonzero(Out out, In x);

/// Sums in sixteen lanes that are added in a fixed order.
[[nodiscard]] double dot(In a, In b);
[[nodiscard]] double sum(In x);
[[nodiscard]] double abs_sum(In x);

/// out = sum_i (x_i - mean)^2 / n, element by element.
void variance(Out out, std::span<const Out> vectors);

/// One model's part in a sign election: the value factor * delta, weighed by `weight`.
struct Vote {
  const double* delta = nullptr;
  double factor = 1, weight = 1;
};
/// Sign election of the task-vector family, element by element:
///   t_i = weight_i (factor_i delta_i),  total = sum_i t_i, or of the factor_i delta_i themselves
///   with `by_values`;  t_i agrees where what it was summed by is not 0 and has the sign of total
///   (0 counts as plus);  mixed = sum of the t_i that agree,  divisor = sum of their weights
///   out = base + lambda mixed / divisor      / only with `divide`, and not by less than `smallest`
struct Election {
  bool by_values = false, divide = false;
  double smallest = -HUGE_VAL;  ///< a divisor of 0 counts as 1
  double lambda = 1;
};
void elect(Out out, In base, std::span<const Vote> votes, const Election& election);

}  // namespace lancet::ops
