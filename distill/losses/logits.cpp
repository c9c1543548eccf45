// Distillation from all logits of a teacher that runs here and has the student's tokenizer.
// Hinton et al. 2015, arXiv:1503.02531; JSD: Agarwal et al. 2023 (GKD), arXiv:2306.13649; skewed:
// Ko et al. 2024 (DistiLLM), arXiv:2402.03898; formulas in ops/divergence.h.
//   L_i = w_i ((1 - alpha) CE_i + alpha T^2 D(softmax(t_i / T), softmax(z_i / T)))
// Both distributions run over the ids that the two models share: entries behind them, padding of a
// vocabulary, are left out (Qwen's heads of 151,936 and 152,064 rows fit). Over answers that the
// student has sampled, divergence `reverse` is on-policy distillation with the whole distribution.
// Precision: distributions in float32, sums in float64.
#include "distill/losses/loss.h"

#include <algorithm>
#include <array>

#include "distill/losses/ops/divergence.h"
#include "distill/losses/ops/taught_rows.h"

namespace lancet {
namespace {

constexpr std::array<std::string_view, 5> kDivergences{"forward", "reverse", "jsd", "skew",
                                                       "skew_reverse"};
constexpr LossParameter kParameters[] = {
    {.name = "alpha",
     .fallback = 0.5,
     .minimum = 0,
     .maximum = 1,
     .help = "share of the divergence; cross-entropy has the rest"},
    {.name = "temperature",
     .fallback = 1,
     .minimum = 0.05,
     .maximum = 100,
     .help = "of both distributions; the divergence is multiplied by its square"},
    {.name = "divergence",
     .kind = LossParameter::Kind::kWord,
     .fallback = 0,
     .minimum = 0,
     .maximum = 4,
     .help = "of the teacher's and the student's distribution",
     .choices = kDivergences},
    {.name = "beta",
     .fallback = 0.5,
     .minimum = 0,
     .maximum = 1,
     .help = "jsd: the teacher's share of the mixture; 0 is forward, 1 reverse"},
    {.name = "skew",
     .fallback = 0.1,
     .minimum = 0,
     .maximum = 0.99,
     .help = "skew, skew_reverse: share of the first distribution in the mixture"},
};

LossResult run(const Decoder& model, const at::Tensor& hidden, const LossTargets& targets,
               const LossOptions& options) {
  const auto kind = static_cast<losses::Divergence>(options.number("divergence"));
  const double mix = options.number(kind == losses::Divergence::kJsd ? "beta" : "skew");
  const double t = options.number("temperature");
  const auto shared = static_cast<std::size_t>(
      targets.shared_vocab > 0 ? targets.shared_vocab
                               : std::min(model.spec().vocab, targets.teacher->spec().vocab));
  const losses::Comparison compare = [=](std::span<float> student, std::span<float> teacher,
                                         std::span<float> gradient) {
    const std::span<float> log_q = student.first(shared), log_p = teacher.first(shared);
    losses::log_softmax(log_q, t);
    losses::log_softmax(log_p, t);
    const std::span<float> slopes = gradient.empty() ? gradient : gradient.first(shared);
    const double value = losses::divergence(kind, mix, log_p, log_q, slopes);
    for (float& each : slopes) each *= static_cast<float>(t);
    return t * t * value;
  };
  return losses::taught_rows(model, hidden, targets, options.number("alpha"), compare);
}

}  // namespace

extern constinit const Loss loss_logits{.name = "logits",
                                        .title = "Divergence from all logits of a local teacher",
                                        .paper = "arXiv:2306.13649",
                                        .needs = {.teacher = true},
                                        .parameters = kParameters,
                                        .run = run};

}  // namespace lancet
