#pragma once
// head_rows() of a head that has a low-rank part: its factors have gradients, too.

#include "distill/losses/ops/head_rows.h"

namespace lancet::losses {

/// Whether the head has a low-rank part that is switched on.
[[nodiscard]] bool head_is_adapted(const Decoder& model);

/// As head_rows(), from normed states; differentiable with respect to the factors as well. Where
/// rows.own_slopes is not set, the gradient that comes back must be the same for all rows
/// (kInternal otherwise): sums over rows are taken while the logits are there.
[[nodiscard]] at::Tensor adapted_head_rows(const Decoder& model, const at::Tensor& normed,
                                           const HeadRows& rows);

}  // namespace lancet::losses
