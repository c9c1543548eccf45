#pragma once
// Forward KL from a teacher of whom only the most likely tokens K are known (a row of an API's log
// probabilities). p the teacher, q the student, m = sum of p over K.
//
//   tail:          both are lumped into |K| + 1 outcomes, K and "anything else": p' = (p_K, 1 - m),
//                  q' = (q_K, 1 - q_K). A lower bound of the true KL, 0 where q' = p'.
//                  Temperature acts on the lumped distributions: softmax(log p' / T).
//   renormalised:  p' = p_K / m, 0 elsewhere; q' = softmax(z / T) over the whole vocabulary,
//                  p' = softmax(log p_K / T).
//   L = T^2 sum p' (log p' - log q')
//
//                  dL/dz_j, j in K          j not in K                     (T = 1)
//   tail           q_j - p_j                q_j - (1 - m) q_j / (1 - q_K)
//   renormalised   q_j - p_j / m            q_j
// The student's tail is a sum of its own (never 1 - q_K), so that a sure student keeps its digits.

#include <cstdint>
#include <span>

namespace lancet::losses {

enum class Missing { kTail, kRenormalised };

struct TopTeacher {
  std::span<const std::int32_t> ids;  ///< no id twice
  std::span<const float> logprobs;    ///< natural logarithms, temperature 1
};

struct TopKRule {
  Missing missing = Missing::kTail;
  double share = 1;  ///< of the KL in the value; cross-entropy has the rest
  double temperature = 1;
  double weight = 1;  ///< of the row
};

struct TopKRow {
  double value = 0;  ///< weight * ((1 - share) * ce + share * kd)
  double ce = 0, kd = 0;
  double coverage = 0;  ///< m, at most 1
};

/// With `gradient`, z becomes d value / d z.
[[nodiscard]] TopKRow top_k_row(std::span<float> z, std::int32_t target, const TopTeacher& teacher,
                                const TopKRule& rule, bool gradient);

}  // namespace lancet::losses
