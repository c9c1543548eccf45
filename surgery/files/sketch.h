#pragma once
// A few numbers by which a matrix is known again after it was rounded to another precision, where
// its hash is another one: projections on fixed random signs, over its norm.

#include <vector>

#include "surgery/files/apply.h"

namespace lancet {

/// Eight projections sum_j s_ij w_j / |w| with signs s drawn from the place j alone. Two unrelated
/// matrices differ by about 1, a matrix and itself in bfloat16 by about 1e-3.
[[nodiscard]] std::vector<double> sketch_plain(const PlainTensor& tensor);
/// Largest difference; infinite where the sketches have different lengths.
[[nodiscard]] double sketch_distance(const std::vector<double>& a, const std::vector<double>& b);

inline constexpr double kSamePrecision = 0.05;

}  // namespace lancet
