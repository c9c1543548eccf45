// Universal logit distillation from a local teacher with a tokenizer of its own. Boizard et al.
// 2024, arXiv:2402.12030; formulas in ops/sorted_distance.h.
//   L_i = w_i ((1 - alpha) CE_i + alpha sum_k |p_(k) - q_(k)|)     sorted probabilities
// alpha 0.6 has the proportions of the paper's CE + 1.5 distance.
// Differs from the paper: it compares the t-th token of one text with the t-th of the other, which
// soon stand at different places; we compare rows that have read the same bytes (ops/alignment.h),
// and the others have cross-entropy alone.
// Precision: distributions in float32, sums in float64.
#include "distill/losses/loss.h"

#include "distill/losses/ops/divergence.h"
#include "distill/losses/ops/sorted_distance.h"
#include "distill/losses/ops/taught_rows.h"
#include "model/kernels/elementwise.h"

namespace lancet {
namespace {

constexpr LossParameter kParameters[] = {
    {.name = "alpha",
     .fallback = 0.6,
     .minimum = 0,
     .maximum = 1,
     .help = "share of the distance; cross-entropy has the rest"},
    {.name = "temperature",
     .fallback = 1,
     .minimum = 0.05,
     .maximum = 100,
     .help = "of both distributions"},
};

void softmax(std::span<float> z, double temperature) {
  losses::log_softmax(z, temperature);
  kernels::exp_row(z.data(), z.data(), static_cast<std::int64_t>(z.size()));
}

LossResult run(const Decoder& model, const at::Tensor& hidden, const LossTargets& targets,
               const LossOptions& options) {
  const double t = options.number("temperature");
  const losses::Comparison compare = [t](std::span<float> student, std::span<float> teacher,
                                         std::span<float> gradient) {
    softmax(student, t);
    softmax(teacher, t);
    const double value = losses::sorted_distance(teacher, student, gradient);
    for (float& each : gradient) each *= static_cast<float>(1 / t);
    return value;
  };
  return losses::taught_rows(model, hidden, targets, options.number("alpha"), compare);
}

}  // namespace

extern constinit const Loss loss_uld{
    .name = "uld",
    .title = "Sorted probabilities of a local teacher with another tokenizer",
    .paper = "arXiv:2402.12030",
    .needs = {.teacher = true, .own_tokenizer = true},
    .parameters = kParameters,
    .run = run};

}  // namespace lancet
