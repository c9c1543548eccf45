#include "tests/losses/plain.h"

#include <algorithm>
#include <numeric>

#include "core/rng.h"

namespace lancet::test {
namespace {

at::Tensor doubles(const std::vector<double>& values) { return at::tensor(values, at::kDouble); }

at::Tensor index_of(const std::vector<std::int32_t>& ids) {
  return at::tensor(std::vector<std::int64_t>(ids.begin(), ids.end()), at::kLong);
}

at::Tensor weights_of(const LossTargets& targets, std::int64_t n) {
  if (targets.weight.empty()) return at::ones({n}, at::kDouble);
  return doubles({targets.weight.begin(), targets.weight.end()});
}

at::Tensor chosen_logprob(const at::Tensor& logits, const LossTargets& targets) {
  return plain_log_softmax(logits).gather(1, index_of(targets.next).unsqueeze(1)).squeeze(1);
}

/// KL(p || q) of logarithms.
at::Tensor kl(const at::Tensor& log_p, const at::Tensor& log_q) {
  return (log_p.exp() * (log_p - log_q)).sum(-1);
}

at::Tensor tempered(const at::Tensor& log_p, double t) { return plain_log_softmax(log_p / t); }

at::Tensor top_k(const at::Tensor& logits, const LossTargets& targets, const LossOptions& options) {
  const double t = options.number("temperature");
  const double alpha = options.number("alpha");
  const at::Tensor log_q = plain_log_softmax(logits);
  std::vector<at::Tensor> rows;
  for (std::int64_t i = 0; i < logits.size(0); ++i) {
    const auto at = static_cast<std::size_t>(i);
    const std::vector<std::int32_t> ids(targets.top_ids.begin() + targets.top_begin[at],
                                        targets.top_ids.begin() + targets.top_begin[at + 1]);
    const at::Tensor ce = -log_q[i][targets.next[at]];
    if (ids.empty()) {
      rows.push_back(ce);
      continue;
    }
    const at::Tensor log_p = doubles({targets.top_logprobs.begin() + targets.top_begin[at],
                                      targets.top_logprobs.begin() + targets.top_begin[at + 1]});
    at::Tensor value;
    if (options.word("missing") == "tail") {
      const at::Tensor mine = log_q[i].index_select(0, index_of(ids));
      at::Tensor rest = at::ones({logits.size(1)}, at::kDouble);
      rest.index_fill_(0, index_of(ids), 0);
      const at::Tensor tail_q = (log_q[i].exp() * rest).sum().log().unsqueeze(0);
      const at::Tensor tail_p = (1 - log_p.exp().sum()).log().unsqueeze(0);
      value = kl(tempered(at::cat({log_p, tail_p}), t), tempered(at::cat({mine, tail_q}), t));
    } else {
      value = kl(tempered(log_p, t), tempered(logits[i], t).index_select(0, index_of(ids)));
    }
    rows.push_back((1 - alpha) * ce + alpha * t * t * value);
  }
  return (at::stack(rows) * weights_of(targets, logits.size(0))).sum();
}

at::Tensor whole_divergence(const at::Tensor& log_p, const at::Tensor& log_q,
                            const LossOptions& options) {
  const std::string_view kind = options.word("divergence");
  const double beta = options.number("beta"), skew = options.number("skew");
  const at::Tensor p = log_p.exp(), q = log_q.exp();
  if (kind == "forward" || (kind == "jsd" && beta == 0)) return kl(log_p, log_q);
  if (kind == "reverse" || (kind == "jsd" && beta == 1)) return kl(log_q, log_p);
  if (kind == "skew") return kl(log_p, (skew * p + (1 - skew) * q).log());
  if (kind == "skew_reverse") return kl(log_q, ((1 - skew) * p + skew * q).log());
  const at::Tensor log_m = (beta * p + (1 - beta) * q).log();
  return beta * kl(log_p, log_m) + (1 - beta) * kl(log_q, log_m);
}

/// With a local teacher: rows without one have cross-entropy alone.
at::Tensor taught(const at::Tensor& logits, const LossTargets& targets, const LossOptions& options,
                  const at::Tensor& teacher) {
  const double t = options.number("temperature");
  const double alpha = options.number("alpha");
  const at::Tensor log_q = plain_log_softmax(logits);
  std::vector<at::Tensor> rows;
  for (std::int64_t i = 0; i < logits.size(0); ++i) {
    const auto at = static_cast<std::size_t>(i);
    const at::Tensor ce = -log_q[i][targets.next[at]];
    const std::int64_t beside = targets.teacher_row.empty() ? i : targets.teacher_row[at];
    if (beside < 0) {
      rows.push_back(ce);
      continue;
    }
    at::Tensor value;
    if (options.loss->name == "uld") {
      const at::Tensor p = std::get<0>(tempered(teacher[beside], t).exp().sort(0, true));
      const at::Tensor q = std::get<0>(tempered(logits[i], t).exp().sort(0, true));
      value = (p - q).abs().sum();
    } else {
      const std::int64_t shared = targets.shared_vocab > 0 ? targets.shared_vocab : logits.size(1);
      value = t * t *
              whole_divergence(tempered(teacher[beside].narrow(0, 0, shared), t),
                               tempered(logits[i].narrow(0, 0, shared), t), options);
    }
    rows.push_back((1 - alpha) * ce + alpha * value);
  }
  return (at::stack(rows) * weights_of(targets, logits.size(0))).sum();
}

at::Tensor preferences(const at::Tensor& logits, const LossTargets& targets,
                       const LossOptions& options) {
  const double beta = options.number("beta"), e = options.number("label_smoothing");
  const at::Tensor logprob = chosen_logprob(logits, targets);
  const at::Tensor weight = weights_of(targets, logits.size(0));
  const at::Tensor ratio = (logprob - doubles(targets.reference)) * weight;
  at::Tensor total = at::zeros({}, at::kDouble);
  const auto part = [&](const at::Tensor& of, std::size_t s) {
    return of.slice(0, targets.sequence_begin[s], targets.sequence_begin[s + 1]).sum();
  };
  for (std::size_t s = 0; s + 2 < targets.sequence_begin.size(); s += 2) {
    at::Tensor chosen = part(ratio, s), rejected = part(ratio, s + 1);
    if (options.flag("length_normalised")) {
      chosen = chosen / part(weight, s);
      rejected = rejected / part(weight, s + 1);
    }
    const at::Tensor d = chosen - rejected;
    total = total + (options.word("kind") == "ipo"
                         ? (d - 1 / (2 * beta)).square()
                         : -(1 - e) * at::log_sigmoid(beta * d) - e * at::log_sigmoid(-beta * d));
    total = total - options.number("nll") * part(logprob * weight, s) / part(weight, s);
  }
  return total;
}

at::Tensor on_policy(const at::Tensor& logits, const LossTargets& targets,
                     const LossOptions& options) {
  const at::Tensor logprob = chosen_logprob(logits, targets);
  const at::Tensor sampling = doubles(targets.sampling_logprob);
  const double clip = options.number("clip");
  std::vector<double> advantage(targets.next.size(), 0.0);
  for (std::size_t s = 0; s + 1 < targets.sequence_begin.size(); ++s) {
    for (auto i = targets.sequence_begin[s]; i < targets.sequence_begin[s + 1]; ++i) {
      double discount = 1;
      for (auto j = i; j < targets.sequence_begin[s + 1]; ++j) {
        const auto at = static_cast<std::size_t>(j);
        advantage[static_cast<std::size_t>(i)] +=
            discount * (targets.teacher_logprob[at] - targets.sampling_logprob[at]);
        discount *= options.number("discount");
      }
    }
  }
  const at::Tensor ratio = (logprob - sampling).exp();
  at::Tensor gain = ratio * doubles(advantage);
  if (clip > 0) gain = at::minimum(gain, ratio.clamp(1 - clip, 1 + clip) * doubles(advantage));
  return -(gain * weights_of(targets, logits.size(0))).sum();
}

/// Values in [0, 1) of a stream.
class Draw {
 public:
  explicit Draw(std::uint64_t seed) : random_(seed, "loss case") {}
  std::int64_t below(std::int64_t n) { return random_.bits(at_++) % n; }
  double unit() { return static_cast<double>(below(1 << 20)) / (1 << 20); }

 private:
  Random random_;
  std::uint64_t at_ = 0;
};

void add_top(LossTargets& targets, std::int64_t n, std::int64_t vocab, Draw& draw) {
  targets.top_begin = {0};
  for (std::int64_t i = 0; i < n; ++i) {
    // Row 1 has no teacher; the others list up to 6 tokens with 40 to 99 % of the mass.
    const std::int64_t count = i == 1 ? 0 : 1 + draw.below(6);
    std::vector<std::int32_t> ids(static_cast<std::size_t>(vocab));
    std::iota(ids.begin(), ids.end(), 0);
    std::vector<double> p;
    for (std::int64_t k = 0; k < count; ++k) {
      std::swap(ids[static_cast<std::size_t>(k)],
                ids[static_cast<std::size_t>(k + draw.below(vocab - k))]);
      p.push_back(0.02 + draw.unit());
    }
    if (count > 0 && draw.unit() < 0.5) {
      const auto at = std::ranges::find(ids, targets.next[static_cast<std::size_t>(i)]);
      std::iter_swap(ids.begin(), at);
    }
    const double mass = 0.4 + 0.59 * draw.unit();
    const double sum = std::accumulate(p.begin(), p.end(), 0.0);
    for (std::int64_t k = 0; k < count; ++k) {
      const auto at = static_cast<std::size_t>(k);
      targets.top_ids.push_back(ids[at]);
      targets.top_logprobs.push_back(static_cast<float>(std::log(p[at] / sum * mass)));
    }
    targets.top_begin.push_back(static_cast<std::int64_t>(targets.top_ids.size()));
  }
}

}  // namespace

at::Tensor plain_log_softmax(const at::Tensor& logits) {
  return at::log_softmax(logits.to(at::kDouble), -1);
}

at::Tensor plain_loss(const at::Tensor& logits, const LossTargets& targets,
                      const LossOptions& options, const at::Tensor& teacher) {
  const LossNeeds& needs = options.loss->needs;
  if (needs.top) return top_k(logits, targets, options);
  if (needs.teacher) return taught(logits, targets, options, teacher);
  if (needs.pairs) return preferences(logits, targets, options);
  if (needs.rollouts) return on_policy(logits, targets, options);
  return -(chosen_logprob(logits, targets) * weights_of(targets, logits.size(0))).sum();
}

Case make_case(const Loss& loss, const Decoder& model, std::int64_t n, std::uint64_t seed) {
  Draw draw(seed);
  Case out;
  const std::int64_t d = model.spec().d_model;
  const auto states = [&](std::string_view name) {
    std::vector<float> values(static_cast<std::size_t>(n * d));
    Random(seed, name).fill_normal(0, values);
    return at::tensor(values).view({n, d}) * 2;
  };
  out.hidden = states("student");
  LossTargets& targets = out.targets;
  const std::int64_t vocab = model.spec().vocab;
  for (std::int64_t i = 0; i < n; ++i) {
    targets.next.push_back(static_cast<std::int32_t>(draw.below(vocab)));
    targets.weight.push_back(static_cast<float>(0.25 + draw.unit()));
  }
  if (loss.needs.top) add_top(targets, n, vocab, draw);
  if (loss.needs.teacher) {
    targets.teacher = &model;
    targets.teacher_hidden = states("teacher");
    for (std::int64_t i = 0; i < n; ++i) targets.teacher_row.push_back(i == 2 ? -1 : n - 1 - i);
    if (!loss.needs.own_tokenizer) targets.shared_vocab = vocab - 7;
  }
  if (loss.needs.pairs || loss.needs.rollouts)
    targets.sequence_begin = {0, n / 5, n / 2, n / 2 + 1, n};
  for (std::int64_t i = 0; i < n; ++i) {
    if (loss.needs.reference) targets.reference.push_back(-8 * draw.unit());
    if (!loss.needs.rollouts) continue;
    targets.teacher_logprob.push_back(-8 * draw.unit());
    targets.sampling_logprob.push_back(-1 - 3 * draw.unit());
  }
  return out;
}

std::vector<std::map<std::string, std::string>> settings_of(const Loss& loss) {
  if (loss.name == "kd") {
    return {{},
            {{"alpha", "1"}, {"temperature", "2.5"}},
            {{"missing", "renormalised"}},
            {{"missing", "renormalised"}, {"temperature", "2"}, {"alpha", "0.9"}}};
  }
  if (loss.name == "logits") {
    return {{},
            {{"divergence", "forward"}, {"temperature", "3"}, {"alpha", "1"}},
            {{"divergence", "reverse"}, {"temperature", "0.7"}},
            {{"divergence", "jsd"}},
            {{"divergence", "jsd"}, {"beta", "0.1"}, {"temperature", "2"}},
            {{"divergence", "jsd"}, {"beta", "0"}},
            {{"divergence", "jsd"}, {"beta", "1"}},
            {{"divergence", "skew"}, {"temperature", "2"}},
            {{"divergence", "skew_reverse"}, {"skew", "0.3"}}};
  }
  if (loss.name == "uld") return {{}, {{"alpha", "1"}, {"temperature", "1.5"}}};
  if (loss.name == "dpo") {
    return {{},
            {{"kind", "ipo"}, {"beta", "0.5"}},
            {{"kind", "ipo"}, {"length_normalised", "true"}},
            {{"length_normalised", "true"}, {"beta", "5"}, {"nll", "0.2"}},
            {{"label_smoothing", "0.1"}, {"nll", "1"}}};
  }
  if (loss.name == "on_policy")
    return {{}, {{"discount", "0.9"}}, {{"clip", "0.2"}, {"discount", "0.5"}}};
  return {{}};
}

}  // namespace lancet::test
