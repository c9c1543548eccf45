// Supervised fine-tuning: cross-entropy of the tokens that are to be learnt. With a teacher's texts
// as data it is sequence-level distillation: Kim and Rush 2016, arXiv:1606.07947.
//   L = sum_i w_i (logsumexp(z_i) - z_i[next_i])
//   dL/dz_i = w_i (softmax(z_i) - [j = next_i])
// Precision: products and softmax in float32, logsumexp and sums in float64.
#include "distill/losses/loss.h"

#include "distill/losses/ops/token_rows.h"

namespace lancet {
namespace {

LossResult run(const Decoder& model, const at::Tensor& hidden, const LossTargets& targets,
               const LossOptions&) {
  std::vector<double> ce(targets.next.size());
  const losses::HeadRows rows = losses::token_rows(targets.next, targets.weight, ce.data());
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
