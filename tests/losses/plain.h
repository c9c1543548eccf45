#pragma once
// The losses as their formulas read, in float64 on whole matrices of logits, with LibTorch's own
// operators and gradients: slow and obvious.

#include <map>
#include <string>
#include <vector>

#include "distill/losses/loss.h"

namespace lancet::test {

/// log softmax over the last dimension, float64.
[[nodiscard]] at::Tensor plain_log_softmax(const at::Tensor& logits);

/// The loss's sum for logits [n, vocab] (float64, differentiable). `teacher`: logits [rows, vocab]
/// of a local teacher.
[[nodiscard]] at::Tensor plain_loss(const at::Tensor& logits, const LossTargets& targets,
                                    const LossOptions& options, const at::Tensor& teacher);

/// A loss's targets for n rows of `model`, made up from a seed. Teacher: `model` itself, over other
/// hidden states.
struct Case {
  at::Tensor hidden;  ///< float32 [n, d_model]
  LossTargets targets;
};
[[nodiscard]] Case make_case(const Loss& loss, const Decoder& model, std::int64_t n,
                             std::uint64_t seed = 1);

/// Settings under which a loss is tested: its defaults and what changes its formula.
[[nodiscard]] std::vector<std::map<std::string, std::string>> settings_of(const Loss& loss);

}  // namespace lancet::test
