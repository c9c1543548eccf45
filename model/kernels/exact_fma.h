#pragma once
// Fused multiply-add for processors without the instruction: the same bits, in a handful of double
// operations.

#include <bit>
#include <cmath>
#include <cstdint>

namespace lancet::kernels {

/// round(a * b + c), once. The product of two floats is exact in double; the sum is rounded to odd
/// (Boldo and Melquiond 2008), after which rounding to float is innocuous because double keeps more
/// than two spare bits.
inline float exact_fma(float a, float b, float c) noexcept {
  const double product = static_cast<double>(a) * static_cast<double>(b);
  const double addend = static_cast<double>(c);
  const double sum = product + addend;
  const double part = sum - product;
  const double error = (product - (sum - part)) + (addend - part);  // sum + error is exact (Knuth)
  auto bits = std::bit_cast<std::uint64_t>(sum);
  const bool exact = error == 0.0 || !std::isfinite(sum);
  if (!exact && (bits & 1U) == 0) bits += (error > 0.0) == (sum > 0.0) ? 1U : ~std::uint64_t{0};
  return static_cast<float>(std::bit_cast<double>(bits));
}

}  // namespace lancet::kernels
