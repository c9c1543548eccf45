#pragma once
// Rows of logits: cross-entropy, and what all losses share. Float32 rows, float64 results; one
// thread.

#include <cstdint>
#include <span>

namespace lancet::losses {

/// z = exp(z - shift).
void exp_shifted(std::span<float> z, double shift);
/// log(exp a + exp b).
[[nodiscard]] double log_add(double a, double b);

/// -log softmax(z)[target]. With `gradient`, z becomes scale * (softmax(z) - [j = target]).
[[nodiscard]] double cross_entropy(std::span<float> z, std::int32_t target, bool gradient,
                                   double scale = 1);

}  // namespace lancet::losses
