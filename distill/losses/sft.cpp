// Supervised fine-tuning: cross-entropy of the tokens that are to be learnt. With a teacher's texts
// as data it is sequence-level distillation: Kim and Rush 2016, arXiv:1606.07947.
//   L = sum_i w_i (logsumexp(z_i) - z_i[next_i])
//   dL/dz_i = w_i (softmax(z_i) - [j = next_i])
// With smoothing e: (1 - e) of that and e of the mean over the vocabulary of -log q:
//   L_i = logsumexp(z) - (1 - e) z[next] - e mean(z);  dL/dz = softmax(z) - (1 - e) [j = next] - e/V
// Precision: products and softmax in float32, logsumexp and sums in float64.
#include "distill/losses/loss.h"

#include "distill/losses/ops/cross_entropy.h"
#include "distill/losses/ops/head_rows.h"

namespace lancet {
namespace {

constexpr LossParameter kParameters[] = {
    {.name = "label_smoothing",
     .fallback = 0,
     .minimum = 0,
     .maximum = 0.9,
     .help = "probability that is spread over the whole vocabulary"},
};

/// Adds what smoothing changes to a row that cross_entropy has worked on.
void smooth(std::span<float> gradient, std::int32_t next, double weight, double share) {
  const auto each =
      static_cast<float>(weight * share / static_cast<double>(gradient.size()));
  for (float& g : gradient) g -= each;
  gradient[static_cast<std::size_t>(next)] += static_cast<float>(weight * share);
}

double mean_of(std::span<const float> z) {
  double sum = 0;
  for (const float each : z) sum += static_cast<double>(each);
  return sum / static_cast<double>(z.size());
}

LossResult run(const Decoder& model, const at::Tensor& hidden, const LossTargets& targets,
               const LossOptions& options) {
  const double smoothing = options.number("label_smoothing");
  std::vector<double> ce(targets.next.size());
  losses::HeadRows rows;
  rows.value = [&](std::int64_t row, std::span<float> logits, bool gradient) {
    const auto i = static_cast<std::size_t>(row);
    const double weight = targets.weight.empty() ? 1 : static_cast<double>(targets.weight[i]);
    const auto at = static_cast<std::size_t>(targets.next[i]);
    const double spread =
        smoothing == 0 ? 0 : static_cast<double>(logits[at]) - mean_of(logits);
    ce[i] = losses::cross_entropy(logits, targets.next[i], gradient, weight);
    if (gradient && smoothing != 0) smooth(logits, targets.next[i], weight, smoothing);
    return weight * (ce[i] + smoothing * spread);
  };
  LossResult out{.sum = losses::sum_of(losses::head_rows(model, hidden, rows)),
                 .count = hidden.size(0)};
  for (const double each : ce) out.ce += each;
  return out;
}

}  // namespace

extern constinit const Loss loss_sft{.name = "sft",
                                     .title = "Cross-entropy of the answer's tokens",
                                     .paper = "arXiv:1606.07947",
                                     .parameters = kParameters,
                                     .run = run};

}  // namespace lancet
