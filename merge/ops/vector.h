#pragma once
// Element-wise arithmetic on blocks of float64, and sums over them. Every function gives the same
// bits whatever the instruction set (core/dispatch.h). Spans of one call have equal size.

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

/// Sign election of the task-vector family, for one model: where `term` is not 0 and has the sign
/// of `total`
/// (>= 0 counts as plus), mixed += value and divisor += weight.
void add_agreeing(Out mixed, Out divisor, In total, In term, In value, double weight);

/// |x| rounded to float32, as its bits: ordered as the magnitudes are.
void magnitude_keys(std::span<std::uint32_t> keys, In x);
/// x = 0 unless low < key <= high. Returns how many keys equal `low`.
std::uint64_t keep_between(Out x, std::span<const std::uint32_t> keys, std::uint32_t low,
                           std::uint32_t high);
/// How many keys are above `key`, and how many equal it.
[[nodiscard]] std::uint64_t count_above(std::span<const std::uint32_t> keys, std::uint32_t key);
[[nodiscard]] std::uint64_t count_equal(std::span<const std::uint32_t> keys, std::uint32_t key);
/// x = 0 where chance[i] >= keep: a Bernoulli(keep) mask from uniform values.
void keep_random(Out x, std::span<const float> chance, double keep);

}  // namespace lancet::ops
