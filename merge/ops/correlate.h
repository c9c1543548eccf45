#pragma once
// Inner products of many float32 rows with many others, fast and with a stated error: a screen
// before exact ones.

#include <cstddef>
#include <span>

namespace lancet::ops {

/// out[r * n + a] = <atoms_a, residuals_r>, atoms [n, width], residuals [b, width], out [b, n].
/// |error| <= correlation_error(width) |atom| |residual|, also where the inputs were rounded to
/// float32 from float64 values of a normal size.
void correlate(std::span<const float> atoms, std::span<const float> residuals, std::size_t width,
               std::span<float> out);
[[nodiscard]] double correlation_error(std::size_t width) noexcept;

}  // namespace lancet::ops
