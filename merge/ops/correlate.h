#pragma once
// Inner products of many float32 rows with many others, fast and with a stated error: a screen
// before exact ones.

#include <cstddef>
#include <cstdint>
#include <span>

namespace lancet::ops {

/// out[r * n + a] = <atoms_a, residuals_r>, atoms [n, width], residuals [b, width], out [b, n].
/// |error| <= correlation_error(width) |atom| |residual|, also where the inputs were rounded to
/// float32 from float64 values of a normal size.
void correlate(std::span<const float> atoms, std::span<const float> residuals, std::size_t width,
               std::span<float> out);
[[nodiscard]] double correlation_error(std::size_t width) noexcept;

/// scores = |start - sum_s weights_s columns_s|, columns of 16-bit integers; the largest of
/// (score - error) norm, at least 0.
[[nodiscard]] float subtract_columns(std::span<float> scores, std::span<const float> start,
                                     std::span<const std::int16_t* const> columns,
                                     std::span<const float> weights, std::span<const float> norms,
                                     float error);
/// The places, in order, with (score + error) norm >= least.
[[nodiscard]] std::size_t find_scores(std::span<const float> scores, std::span<const float> norms,
                                      float error, float least, std::span<std::uint32_t> out);

}  // namespace lancet::ops
