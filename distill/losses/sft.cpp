// Supervised fine-tuning: cross-entropy of the tokens that are to be learnt. With a teacher's texts
// as data it is sequence-level distillation: Kim and Rush 2016, arXiv:1606.07947.
//   L = sum_i w_i (logsumexp(z_i) - z_i[next_i])
//   dL/dz_i = w_i (softmax(z_i) - [j = next_i])
// Precision: products and softmax in float32, logsumexp and sums in float64.
#include "distill/losses/loss.h"

#include "distill/losses/ops/cross_entropy.h"
#include "distill/losses/ops/head_rows.h"

namespace lancet {
namespace {

LossResult run(const Decoder& model, const at::Tensor& hidden, const LossTargets& targets,
               const LossOptions&) {
  std::vector<double> ce(targets.next.size());
  losses::HeadRows rows;
  rows.value = [&](std::int64_t row, std::span<float> logits, bool gradient) {
    const auto i = static_cast<std::size_t>(row);
    const double weight = targets.weight.empty() ? 1 : static_cast<double>(targets.weight[i]);
    ce[i] = losses::cross_entropy(logits, targets.next[i], gradient, weight);
    return weight * ce[i];
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
                                     .run = run};

}  // namespace lancet
