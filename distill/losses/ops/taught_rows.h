#pragma once
// Losses beside a teacher that runs here: (1 - alpha) cross-entropy + alpha of what compares the
// two rows of logits.

#include <functional>
#include <span>

#include "distill/losses/loss.h"

namespace lancet::losses {

/// Compares one row: `student` and `teacher` are logits and may be written over. With `gradient`
/// (else empty; as long as the student's row) writes d value / d student's logits.
using Comparison = std::function<double(std::span<float> student, std::span<float> teacher,
                                        std::span<float> gradient)>;

/// L_i = w_i ((1 - alpha) CE_i + alpha compare_i); rows without a teacher's row have CE alone.
[[nodiscard]] LossResult taught_rows(const Decoder& model, const at::Tensor& hidden,
                                     const LossTargets& targets, double alpha,
                                     const Comparison& compare);

}  // namespace lancet::losses
