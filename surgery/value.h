#pragma once
// v*: what the model must hold at the subject's last token to say the target (ROME §3.1, MEMIT
// §4.2, as coded: editing reference 1.0). One vector a fact, all facts of a chunk in one batch.
//   loss(delta) = mean_rows mean_t -log p(target_t)                      NLL, rows = contexts
//               + kl * KL(p_now || p_before) at the subject alone        keeps the subject's
//               essence
//               + weight_decay * |delta| / |v_0|^2
//   Adam on delta (start 0), then |delta| <= clamp * |v_0|;  v* = v_0 + delta, v_0 on the bare row.
// delta joins the residual stream behind the edit layer at the subject's last token; v_0 is the
// output of the down projection there (ROME) or the stream itself (MEMIT).

#include <cstdint>
#include <functional>
#include <span>
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
  /// Rewriting rows that the search begins with, the bare one first; once the target is sure on
  /// them, or after half of the steps, all rows count. 0 = all from the start.
  std::int64_t first_rows = 0;
  /// Told of every fact (its index) that is found: its last loss and mean p(target). Any thread.
  std::function<void(std::size_t fact, double loss, double probability)> found = {};
  bool at_stream = false;  ///< v_0 is the residual stream, not the down projection's output
};

struct Value {
  at::Tensor value;  ///< v*, float64 [d_model]
  at::Tensor delta;  ///< v* - v_0, float64 [d_model]
  at::Tensor
      losses;  ///< float64 [passes, 5]: total, NLL, KL * factor, weight decay, mean probability
};

/// The rows of a fact in the order that optimise_values() reads: rewriting, then the subject alone.
void append_rows(const FactRows& fact, std::vector<PromptRow>& rows);

/// `states` are read_rows() of append_rows() of all facts; a chunk holds whole facts. A fact that
/// has reached its goal leaves the batch. Only delta is differentiated; what belongs to a fact does
/// not depend on the thread count. kNumeric on NaN.
[[nodiscard]] std::vector<Value> optimise_values(const Decoder& model,
                                                 std::span<const FactRows> facts,
                                                 const RowStates& states, std::int64_t layer,
                                                 const ValueOptions& options);
/// What an earlier search found, without its losses; `start` is v_0.
[[nodiscard]] Value known_value(const at::Tensor& value, const at::Tensor& start);
/// Of one fact.
[[nodiscard]] Value optimise_value(const Decoder& model, const FactRows& rows,
                                   const RowStates& states, std::int64_t layer,
                                   const ValueOptions& options);

}  // namespace lancet
