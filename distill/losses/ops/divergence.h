#pragma once
// Divergences of two whole distributions over one vocabulary, p the teacher's, q the student's.
//
//   forward        KL(p || q)
//   reverse        KL(q || p)
//   jsd            b KL(p || M) + (1 - b) KL(q || M),  M = b p + (1 - b) q     (b = 0: forward, 1:
//                  reverse, as in TRL; the value of jsd itself goes to 0 there)
//   skew           KL(p || a p + (1 - a) q)                                     DistiLLM
//   skew_reverse   KL(q || (1 - a) p + a q)
// Gradients are exact, also through the mixtures: with h_j = dD/dq_j, dD/dz_j = q_j (h_j - sum q
// h). (DistiLLM-2's code stops the gradient in the mixture of skew_reverse.)

#include <span>

namespace lancet::losses {

enum class Divergence { kForward, kReverse, kJsd, kSkew, kSkewReverse };

/// x becomes log softmax(x / T).
void log_softmax(std::span<float> x, double temperature);

/// D(p, q) of logarithms of equal length. With `gradient` (else empty), writes d D / d z for
/// log q = log_softmax(z). `mix` is b of jsd, a of the skewed ones.
[[nodiscard]] double divergence(Divergence kind, double mix, std::span<const float> log_p,
                                std::span<const float> log_q, std::span<float> gradient);

}  // namespace lancet::losses
