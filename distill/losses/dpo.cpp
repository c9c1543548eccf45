// Direct preference optimisation. Rafailov et al. 2023, arXiv:2305.18290; ipo: Azar et al. 2023,
// arXiv:2310.12036; the NLL term: Llama 3, arXiv:2407.21783, section 4.1.4; length-normalised:
// Tulu 3, arXiv:2411.15124.
//   r(y) = sum_t w_t (log pi(y_t) - log ref(y_t))        divided by sum_t w_t where normalised
//   d = r(chosen) - r(rejected)
//   sigmoid: L = -(1 - e) log sigmoid(beta d) - e log sigmoid(-beta d)      e: label_smoothing
//   ipo:     L = (d - 1 / (2 beta))^2
//   + nll * mean_t -log pi(chosen_t)
// TRL's loss_type "ipo" is ipo with length_normalised = true. A sum over pairs; `count` is their
// number. The caller leaves out headers and terminators by giving no rows for them.
// Precision: token log probabilities from float32 logits, everything behind them in float64.
#include "distill/losses/loss.h"

#include <array>
#include <cmath>

#include "core/error.h"
#include "distill/losses/ops/head_rows.h"

namespace lancet {
namespace {

constexpr std::array<std::string_view, 2> kKinds{"sigmoid", "ipo"};
constexpr LossParameter kParameters[] = {
    {.name = "beta",
     .fallback = 0.1,
     .minimum = 1e-4,
     .maximum = 100,
     .help = "how much a difference from the reference counts"},
    {.name = "kind",
     .kind = LossParameter::Kind::kWord,
     .fallback = 0,
     .minimum = 0,
     .maximum = 1,
     .help = "of the loss of a pair",
     .choices = kKinds},
    {.name = "length_normalised",
     .kind = LossParameter::Kind::kFlag,
     .fallback = 0,
     .minimum = 0,
     .maximum = 1,
     .help = "means over the tokens of an answer instead of sums"},
    {.name = "nll",
     .fallback = 0,
     .minimum = 0,
     .maximum = 100,
     .help = "weight of the chosen answer's cross-entropy (Llama 3: 0.2)"},
    {.name = "label_smoothing",
     .fallback = 0,
     .minimum = 0,
     .maximum = 0.5,
     .help = "sigmoid: probability that chosen and rejected were exchanged"},
};

struct Rule {
  double beta, nll, smoothing;
  bool ipo, normalised;
};

/// log sigmoid(x) = -log(1 + exp -x).
double log_sigmoid(double x) {
  return x < 0 ? x - std::log1p(std::exp(x)) : -std::log1p(std::exp(-x));
}
double sigmoid(double x) { return std::exp(log_sigmoid(x)); }

struct PairLoss {
  double value, slope;  ///< slope: with respect to d
};

PairLoss pair_loss(const Rule& rule, double d) {
  if (rule.ipo) {
    const double miss = d - 1 / (2 * rule.beta);
    return {miss * miss, 2 * miss};
  }
  const double u = rule.beta * d, e = rule.smoothing;
  return {-(1 - e) * log_sigmoid(u) - e * log_sigmoid(-u),
          rule.beta * (e * sigmoid(u) - (1 - e) * sigmoid(-u))};
}

/// One answer among the rows.
struct Answer {
  std::size_t begin = 0, end = 0;
  double length = 0;  ///< sum of weights
  double ratio = 0;   ///< r(y)
  double nll = 0;     ///< mean of -log pi
};

class Pairs {
 public:
  Pairs(const LossTargets& targets, const double* logprob, const Rule& rule)
      : targets_(targets), logprob_(logprob), rule_(rule), slopes_(targets.next.size()) {
    for (std::size_t s = 0; s + 2 < targets.sequence_begin.size(); s += 2)
      add(answer(s), answer(s + 1));
  }

  [[nodiscard]] LossResult result(const at::Tensor& values) const {
    return {.sum = losses::scalar_of(values, total_, slopes_),
            .count = static_cast<std::int64_t>(targets_.sequence_begin.size() / 2),
            .ce = ce_,
            .metrics = {{"accuracy", accuracy_},
                        {"margin", chosen_ - rejected_},
                        {"chosen_reward", chosen_},
                        {"rejected_reward", rejected_}}};
  }

 private:
  [[nodiscard]] double weight(std::size_t row) const {
    return targets_.weight.empty() ? 1 : static_cast<double>(targets_.weight[row]);
  }

  [[nodiscard]] Answer answer(std::size_t sequence) const {
    Answer out{.begin = static_cast<std::size_t>(targets_.sequence_begin[sequence]),
               .end = static_cast<std::size_t>(targets_.sequence_begin[sequence + 1])};
    for (std::size_t i = out.begin; i < out.end; ++i) {
      out.length += weight(i);
      out.ratio += weight(i) * (logprob_[i] - targets_.reference[i]);
      out.nll -= weight(i) * logprob_[i];
    }
    if (!(out.length > 0)) {
      fail(ErrorKind::kInput, "loss",
           "expected answers of at least one token, found none in sequence " +
               std::to_string(sequence));
    }
    out.nll /= out.length;
    if (rule_.normalised) out.ratio /= out.length;
    return out;
  }

  void add(const Answer& chosen, const Answer& rejected) {
    const auto [value, slope] = pair_loss(rule_, chosen.ratio - rejected.ratio);
    total_ += value + rule_.nll * chosen.nll;
    ce_ += chosen.nll;
    chosen_ += rule_.beta * chosen.ratio;
    rejected_ += rule_.beta * rejected.ratio;
    accuracy_ += chosen.ratio > rejected.ratio ? 1 : 0;
    spread(chosen, slope, rule_.nll);
    spread(rejected, -slope, 0);
  }

  void spread(const Answer& answer, double slope, double nll) {
    const double each = (rule_.normalised ? slope / answer.length : slope) - nll / answer.length;
    for (std::size_t i = answer.begin; i < answer.end; ++i) slopes_[i] = weight(i) * each;
  }

  const LossTargets& targets_;
  const double* logprob_;
  Rule rule_;
  std::vector<double> slopes_;
  double total_ = 0, ce_ = 0, accuracy_ = 0, chosen_ = 0, rejected_ = 0;
};

LossResult run(const Decoder& model, const at::Tensor& hidden, const LossTargets& targets,
               const LossOptions& options) {
  const Rule rule{.beta = options.number("beta"),
                  .nll = options.number("nll"),
                  .smoothing = options.number("label_smoothing"),
                  .ipo = options.word("kind") == "ipo",
                  .normalised = options.flag("length_normalised")};
  const at::Tensor values = token_logprobs(model, hidden, targets.next);
  return Pairs(targets, values.const_data_ptr<double>(), rule).result(values);
}

}  // namespace

extern constinit const Loss loss_dpo{.name = "dpo",
                                     .title = "Preferences without a reward model (DPO, IPO)",
                                     .paper = "arXiv:2305.18290",
                                     .needs = {.pairs = true, .reference = true},
                                     .parameters = kParameters,
                                     .run = run};

}  // namespace lancet
