#pragma once
// Slopes of attention with linear biases. Press, Smith and Lewis 2021, arXiv:2108.12409.

#include <cstdint>
#include <vector>

namespace lancet {

/// For n heads, n a power of two: 2^(-8 i / n), i from 1. Otherwise those of the power of two
/// below, then every second one of the power of two above.
[[nodiscard]] std::vector<float> alibi_slopes(std::int64_t heads);

}  // namespace lancet
