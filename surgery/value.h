#pragma once
// v*: the output of the down projection at the subject's last token that makes the model say the
// target (ROME §3.1, as coded: editing reference 1.0).
//   loss(delta) = mean_rows mean_t -log p(target_t)                      NLL, rows = contexts
//               + kl * KL(p_now || p_before) at the subject alone        keeps the subject's
//               essence
//               + weight_decay * |delta| / |v_0|^2
//   Adam on delta (start 0), then |delta| <= clamp * |v_0|;  v* = v_0 + delta, v_0 on the bare row.

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "model/decoder.h"
#include "surgery/key.h"
#include "surgery/subject.h"

namespace lancet {

struct ValueOptions {
  std::int64_t steps = 25;  ///< forward passes; the last one does not update
  double lr = 0.5;          ///< Adam, betas 0.9 and 0.999, eps 1e-8
  double clamp = 4;
  double kl = 0.0625;
  double weight_decay = 1e-3;
  double stop_loss = 0.05;  ///< stop when the loss is below
  double stop_nll =
      0;  ///< stop when every target token is the arg max and the NLL of every row is below
};

struct Value {
  at::Tensor value;  ///< v*, float64 [d_model]
  at::Tensor delta;  ///< v* - v_0, float64 [d_model]
  at::Tensor
      losses;  ///< float64 [passes, 5]: total, NLL, KL * factor, weight decay, mean probability
};

/// `states` are read_rows() of the rewriting rows followed by the subject alone. Only delta is
/// differentiated; gradients of the chunks are added in their order: the same bits for any thread
/// count. kNumeric on NaN.
[[nodiscard]] Value optimise_value(const Decoder& model, const FactRows& rows,
                                   const RowStates& states, std::int64_t layer,
                                   const ValueOptions& options);

}  // namespace lancet
