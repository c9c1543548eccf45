// Distillation from the top-k log probabilities of an API: forward KL, the rest of the vocabulary
// as one outcome. Hinton et al. 2015, arXiv:1503.02531; formulas in ops/top_k.h.
//   L_i = w_i ((1 - alpha) CE_i + alpha T^2 KL(p' || q'))
// A row without a teacher's probabilities has its cross-entropy alone, with weight w_i.
// Precision: softmax in float32, the k + 1 outcomes and all sums in float64.
#include "distill/losses/loss.h"

#include <array>

#include "distill/losses/ops/cross_entropy.h"
#include "distill/losses/ops/head_rows.h"
#include "distill/losses/ops/top_k.h"

namespace lancet {
namespace {

constexpr std::array<std::string_view, 2> kMissing{"tail", "renormalised"};
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
    {.name = "missing",
     .kind = LossParameter::Kind::kWord,
     .fallback = 0,
     .minimum = 0,
     .maximum = 1,
     .help = "the probability that the teacher did not list: one outcome more, or shared out among "
             "those that it did",
     .choices = kMissing},
};

struct Row {
  double ce = 0, kd = 0, coverage = 0;
  bool taught = false;
};

LossResult collect(at::Tensor sum, const std::vector<Row>& rows) {
  LossResult out{.sum = std::move(sum), .count = static_cast<std::int64_t>(rows.size())};
  for (const Row& row : rows) {
    out.ce += row.ce;
    out.kd += row.kd;
    out.coverage += row.coverage;
    out.teacher_rows += row.taught ? 1 : 0;
  }
  return out;
}

LossResult run(const Decoder& model, const at::Tensor& hidden, const LossTargets& targets,
               const LossOptions& options) {
  const losses::TopKRule rule{.missing = static_cast<losses::Missing>(options.number("missing")),
                              .share = options.number("alpha"),
                              .temperature = options.number("temperature")};
  std::vector<Row> figures(targets.next.size());
  losses::HeadRows rows;
  rows.value = [&](std::int64_t row, std::span<float> logits, bool gradient) {
    const auto i = static_cast<std::size_t>(row);
    const auto begin = static_cast<std::size_t>(targets.top_begin[i]);
    const auto count = static_cast<std::size_t>(targets.top_begin[i + 1]) - begin;
    const double weight = targets.weight.empty() ? 1 : static_cast<double>(targets.weight[i]);
    if (count == 0) {
      figures[i].ce = losses::cross_entropy(logits, targets.next[i], gradient, weight);
      return weight * figures[i].ce;
    }
    const losses::TopTeacher teacher{std::span(targets.top_ids).subspan(begin, count),
                                     std::span(targets.top_logprobs).subspan(begin, count)};
    losses::TopKRule mine = rule;
    mine.weight = weight;
    const losses::TopKRow value =
        losses::top_k_row(logits, targets.next[i], teacher, mine, gradient);
    figures[i] = {value.ce, value.kd, value.coverage, true};
    return value.value;
  };
  return collect(losses::sum_of(losses::head_rows(model, hidden, rows)), figures);
}

}  // namespace

extern constinit const Loss loss_kd{.name = "kd",
                                    .title = "Forward KL from a teacher's top-k log probabilities",
                                    .paper = "arXiv:1503.02531",
                                    .needs = {.top = true},
                                    .parameters = kParameters,
                                    .run = run};

}  // namespace lancet
