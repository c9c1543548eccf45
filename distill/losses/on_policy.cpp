// On-policy distillation: the student samples, the teacher scores each sampled token. Lu and
// Thinking Machines 2025, "On-Policy Distillation"; Gu et al. 2023 (MiniLLM), arXiv:2306.08543.
//   k_t = log q_sampling(y_t) - log p(y_t)                 what the reverse KL is estimated from
//   A_t = -sum_{s >= t} discount^(s - t) k_s               within one answer; discount 0: -k_t
//   rho_t = q(y_t) / q_sampling(y_t)                       1 in the first step after sampling
//   L = -sum_t w_t rho_t A_t
// and with clip e > 0, per token, -w_t min(rho_t A_t, clamp(rho_t, 1 - e, 1 + e) A_t) (PPO). At
// rho = 1 the gradient is that of the reverse KL's estimate; k, and with it A, is a constant. `kd`
// sums k_t, an estimate of KL(q || p) that may be negative.
// Precision: token log probabilities from float32 logits, everything behind them in float64.
#include "distill/losses/loss.h"

#include <algorithm>
#include <cmath>

#include "distill/losses/ops/head_rows.h"

namespace lancet {
namespace {

constexpr LossParameter kParameters[] = {
    {.name = "discount",
     .fallback = 0,
     .minimum = 0,
     .maximum = 1,
     .help = "how much a token answers for those after it"},
    {.name = "clip",
     .fallback = 0,
     .minimum = 0,
     .maximum = 10,
     .help = "bound of the probability ratio's distance from 1; 0 = none"},
};

/// A_t of every row.
std::vector<double> advantages(const LossTargets& targets, double discount) {
  std::vector<double> out(targets.next.size());
  for (std::size_t s = 0; s + 1 < targets.sequence_begin.size(); ++s) {
    const auto begin = static_cast<std::size_t>(targets.sequence_begin[s]);
    double later = 0;
    for (auto i = static_cast<std::size_t>(targets.sequence_begin[s + 1]); i-- > begin;) {
      later = targets.teacher_logprob[i] - targets.sampling_logprob[i] + discount * later;
      out[i] = later;
    }
  }
  return out;
}

struct TokenLoss {
  double value, slope;  ///< slope: with respect to log q(y_t)
  bool clipped;
};

TokenLoss token_loss(double ratio, double advantage, double clip) {
  const double plain = ratio * advantage;
  if (clip == 0) return {-plain, -plain, false};
  const double bounded = std::clamp(ratio, 1 - clip, 1 + clip) * advantage;
  if (bounded < plain) return {-bounded, 0, true};
  return {-plain, -plain, false};
}

LossResult run(const Decoder& model, const at::Tensor& hidden, const LossTargets& targets,
               const LossOptions& options) {
  const at::Tensor values = token_logprobs(model, hidden, targets.next);
  const auto* logprob = values.const_data_ptr<double>();
  const std::vector<double> advantage = advantages(targets, options.number("discount"));
  const std::size_t n = advantage.size();
  std::vector<double> slopes(n);
  const auto count = static_cast<std::int64_t>(n);
  LossResult out{.count = count, .teacher_rows = count};
  double total = 0, ratios = 0, clipped = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double weight = targets.weight.empty() ? 1 : static_cast<double>(targets.weight[i]);
    const double ratio = std::exp(logprob[i] - targets.sampling_logprob[i]);
    const TokenLoss token = token_loss(ratio, advantage[i], options.number("clip"));
    total += weight * token.value;
    slopes[i] = weight * token.slope;
    out.ce -= logprob[i];
    out.kd += targets.sampling_logprob[i] - targets.teacher_logprob[i];
    out.coverage += std::exp(std::min(0.0, targets.teacher_logprob[i]));
    ratios += ratio;
    clipped += token.clipped ? 1 : 0;
  }
  out.metrics = {{"ratio", ratios}, {"clipped", clipped}};
  out.sum = losses::scalar_of(values, total, slopes);
  return out;
}

}  // namespace

extern constinit const Loss loss_on_policy{
    .name = "on_policy",
    .title = "Reverse KL of the student's own answers, scored by a teacher",
    .paper = "arXiv:2306.08543",
    .needs = {.rollouts = true},
    .parameters = kParameters,
    .run = run};

}  // namespace lancet
