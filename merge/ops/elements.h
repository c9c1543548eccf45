#pragma once
// Rules of single methods, element by element over the models of a block. Spans of one call have
// equal size.

#include "merge/ops/vector.h"

namespace lancet::ops {

/// EMR: sums -> sign(sum) times the largest |x| of the models that have this sign, times factor; 0
/// where the sum is 0.
void largest_agreeing(Out sums, std::span<const Out> models, double factor);
/// MagMax: out = x where |x| is larger, of opposite equal ones the positive.
void keep_larger(Out out, In x);
/// TALL masks: total * factor where |x_i| >= bounds_i |total - x_i| for at least `least` models,
/// else 0.
void keep_used(Out total, std::span<const Out> models, std::span<const double> bounds, int least,
               double factor);
/// NearSwap: out = s b + (1 - s) a with s = min(1, t / max(|a - b|, smallest)).
void swap_near(Out out, In a, In b, double t, double smallest);
/// RAM: out = base + the mean of the x_i with |x_i| > epsilon.
void add_mean_change(Out out, In base, std::span<const Out> models, double epsilon);
/// RAM+: counts[2 i] += elements that model i alone changes, counts[2 i + 1] += those others change
/// as well.
void count_changes(std::span<double> counts, std::span<const Out> models, double epsilon);
/// RAM+: out = base + factors_i x_i where i alone changes it, else base + the mean of the changes.
void add_scaled_changes(Out out, In base, std::span<const Out> models,
                        std::span<const double> factors, double epsilon);
/// sum += x and count += 1 where keys >= least and not 0.
void add_from_key(Out sum, Out count, In x, std::span<const std::uint32_t> keys, double least);
/// out = b where |measure|, rounded to float32, is at least `threshold`, else a.
void choose_by(Out out, In a, In b, In measure, double threshold);
/// out = |a - b|; out = |a - b| factor.
void distance(Out out, In a, In b);
void scaled_distance(Out out, In a, In b, double factor);

/// out = softmax of x.
void softmax(Out out, In x);
/// sum p (log(p + epsilon) - log(q + epsilon)).
[[nodiscard]] double divergence(In p, In q, double epsilon);

/// Smallest and largest of nothing yet.
struct Range {
  double low = HUGE_VAL, high = -HUGE_VAL;
  /// x in the range as [0, 1]; 0 where the range is a point.
  [[nodiscard]] double part(double x) const { return high > low ? (x - low) / (high - low) : 0.0; }
};
/// PCB: widens the range to all a b.
void widen_by_products(Range& range, In a, In b);
/// PCB: sum of exp(part of a b); its n-th powers are added to `power` where that is not null.
void add_exponentials(double& sum, double* power, double n, const Range& range, In a, In b);
/// PCB: out += exp(part of a b) / divisor; out *= exp(n part of a a) / divisor.
void add_softmax(Out out, In a, In b, const Range& range, double divisor);
void scale_by_softmax(Out out, In a, double n, const Range& range, double divisor);

}  // namespace lancet::ops
