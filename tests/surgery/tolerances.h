#pragma once
// Tolerances of the surgery tests, with their reasons.

namespace lancet::tolerance {

/// float32 engine against float64 reference, one pass of three layers: about 20 roundings of 6e-8
/// each.
inline constexpr double kForward = 1e-5;
/// After up to 20 Adam steps, which pass on rounding errors of the gradient (issue: 1e-4 relative).
inline constexpr double kReference = 1e-4;
/// Published code's values: first losses (no step taken yet), float32 on both sides.
inline constexpr double kGoldenFirstLoss = 1e-5;
/// Keys of five layers in float32 on both sides.
inline constexpr double kGoldenKey = 1e-5;
/// Closed forms given the stored inputs; the published code inverts C in float32.
inline constexpr double kGoldenClosedForm = 1e-4;
/// v* after 19 to 25 steps: Adam amplifies the order of float32 sums.
inline constexpr double kGoldenValue = 1e-2;

/// p of up to five tokens, relative: their log probabilities are each right to kForward.
inline constexpr double kProbability = 5e-5;
/// A float32 gradient against central differences of a float32 function, relative to the largest
/// effect: the third derivative times the step squared, and the rounding over the step.
inline constexpr double kDifferences = 2e-2;

}  // namespace lancet::tolerance
