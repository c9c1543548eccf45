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

/// |x| rounded to float32, as its bits: ordered as the magnitudes are.
void magnitude_keys(std::span<std::uint32_t> keys, In x);
/// x = 0 unless low < key <= high. Returns how many keys equal `low`.
std::uint64_t keep_between(Out x, std::span<const std::uint32_t> keys, std::uint32_t low,
                           std::uint32_t high);
/// How many keys are above `key`, and how many equal it.
[[nodiscard]] std::uint64_t count_above(std::span<const std::uint32_t> keys, std::uint32_t key);
[[nodiscard]] std::uint64_t count_equal(std::span<const std::uint32_t> keys, std::uint32_t key);
/// x = 0 unless low < its key <= high.
void keep_magnitudes(Out x, std::uint32_t low, std::uint32_t high);

/// Keys in [low, high] but for those that equal `pivot`.
struct Window {
  std::uint32_t low = 0, high = UINT32_MAX, pivot = UINT32_MAX;
};
struct Collected {
  std::size_t inside = 0, above = 0, pivots = 0;  ///< copied, above high, equal to the pivot
};
/// Copies the keys in the window to `out`, in order; `out` has room for 16 more than all keys.
Collected collect_window(std::span<const std::uint32_t> keys, const Window& window,
                         std::uint32_t* out);

/// The largest of the keys, 0 of none.
[[nodiscard]] std::uint32_t largest_key(std::span<const std::uint32_t> keys);

/// Bit i % 8 of bits[i / 8]: x[i] is not 0. The bits behind the last element are 0.
void mark_nonzero(std::span<std::uint8_t> bits, In x);
/// x = 0 where its bit is 0.
void keep_marked(Out x, std::span<const std::uint8_t> bits);

/// The smallest integer that the upper 24 bits of a random word must not reach to be below `chance`
/// of 2^24.
[[nodiscard]] std::uint32_t chance_limit(double chance);
/// x = 0 where words[i] >> 8 >= limit: a Bernoulli mask from random words.
void keep_random(Out x, std::span<const std::uint32_t> words, std::uint32_t limit);

}  // namespace lancet::ops
