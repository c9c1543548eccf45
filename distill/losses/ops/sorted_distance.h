#pragma once
// Universal logit distillation: distributions over different vocabularies, compared by their sorted
// probabilities. Boizard et al. 2024, arXiv:2402.12030.
//   D = sum_i |p_(i) - q_(i)|, the shorter one followed by zeros
//   dD/dq_(i) = sgn(q_(i) - p_(i));  dD/dz_j = q_j (h_j - sum q h)

#include <span>

namespace lancet::losses {

/// p and q are probabilities (>= 0); p is sorted in place. With `gradient` (else empty; as long as
/// q), writes d D / d z for q = softmax(z).
[[nodiscard]] double sorted_distance(std::span<float> p, std::span<const float> q,
                                     std::span<float> gradient);

}  // namespace lancet::losses
