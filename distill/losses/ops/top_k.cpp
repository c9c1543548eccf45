#include "distill/losses/ops/top_k.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "distill/losses/ops/cross_entropy.h"
#include "model/kernels/elementwise.h"

namespace lancet::losses {
namespace {

constexpr double kNothing = -std::numeric_limits<double>::infinity();
constexpr float kHidden = std::numeric_limits<float>::lowest();

double log_sum(std::span<const float> z) {
  return kernels::log_sum_exp(z.data(), static_cast<std::int64_t>(z.size()));
}

/// log softmax(x / T); -inf stays.
std::vector<double> tempered(std::vector<double> x, double temperature) {
  double total = kNothing;
  for (double& each : x) {
    each /= temperature;
    total = log_add(total, each);
  }
  for (double& each : x) each -= total;
  return x;
}

/// sum p (log p - log q), outcomes without p left out.
double divergence(const std::vector<double>& log_p, const std::vector<double>& log_q) {
  double total = 0;
  for (std::size_t i = 0; i < log_p.size(); ++i) {
    if (log_p[i] > kNothing) total += std::exp(log_p[i]) * (log_p[i] - log_q[i]);
  }
  return total;
}

/// The row as two sets: the teacher's tokens and the rest.
struct Parts {
  std::vector<float> top;  ///< the student's logits of the teacher's tokens
  double log_sum_rest = kNothing, log_sum_all = 0;
  std::vector<double> teacher;  ///< log p of them, of a total of at most 1
  double mass = 0;
};

/// Reads z and hides the teacher's tokens in it.
Parts take_apart(std::span<float> z, const TopTeacher& teacher) {
  Parts parts;
  double log_mass = kNothing, log_top = kNothing;
  for (std::size_t i = 0; i < teacher.ids.size(); ++i) {
    float& logit = z[static_cast<std::size_t>(teacher.ids[i])];
    parts.top.push_back(logit);
    log_top = log_add(log_top, static_cast<double>(logit));
    logit = kHidden;
    parts.teacher.push_back(static_cast<double>(teacher.logprobs[i]));
    log_mass = log_add(log_mass, parts.teacher.back());
  }
  // Rounded log probabilities may say a little more than 1.
  for (double& each : parts.teacher) each -= std::max(0.0, log_mass);
  parts.mass = std::exp(std::min(0.0, log_mass));
  if (parts.top.size() < z.size()) parts.log_sum_rest = log_sum(z);
  parts.log_sum_all = log_add(parts.log_sum_rest, log_top);
  return parts;
}

/// Lumped outcomes: the teacher's tokens, then the rest.
double tail_row(std::span<float> z, const TopTeacher& teacher, const Parts& parts,
                const TopKRule& rule, bool gradient) {
  std::vector<double> p = parts.teacher;
  std::vector<double> q;
  for (const float logit : parts.top) q.push_back(static_cast<double>(logit) - parts.log_sum_all);
  const bool has_rest = parts.log_sum_rest > kNothing;
  if (has_rest) {
    p.push_back(parts.mass < 1 ? std::log1p(-parts.mass) : kNothing);
    q.push_back(parts.log_sum_rest - parts.log_sum_all);
  }
  const double log_rest = has_rest ? q.back() : kNothing;
  const double t = rule.temperature;
  p = tempered(std::move(p), t);
  q = tempered(std::move(q), t);
  const double kd = t * t * divergence(p, q);
  if (!gradient) return kd;
  const auto slope = [&](std::size_t i, double log_of_one) {
    const double kl = t * (std::exp(q[i]) - std::exp(p[i]));
    return rule.weight * ((1 - rule.share) * std::exp(log_of_one) + rule.share * kl);
  };
  // Of the rest each token has its part by softmax among them.
  exp_shifted(z, has_rest ? parts.log_sum_rest : 0);
  if (has_rest) {
    const auto each = static_cast<float>(slope(q.size() - 1, log_rest));
    for (float& g : z) g *= each;
  }
  for (std::size_t i = 0; i < parts.top.size(); ++i) {
    z[static_cast<std::size_t>(teacher.ids[i])] =
        static_cast<float>(slope(i, static_cast<double>(parts.top[i]) - parts.log_sum_all));
  }
  return kd;
}

double renormalised_row(std::span<float> z, const TopTeacher& teacher, const Parts& parts,
                        const TopKRule& rule, bool gradient) {
  for (std::size_t i = 0; i < parts.top.size(); ++i)
    z[static_cast<std::size_t>(teacher.ids[i])] = parts.top[i];
  const double t = rule.temperature;
  const std::vector<double> p = tempered(parts.teacher, t);
  thread_local std::vector<float> warm;  // z / T, where that is not z
  warm.clear();
  if (t != 1) {
    for (const float each : z) warm.push_back(static_cast<float>(static_cast<double>(each) / t));
  }
  const double log_warm = t == 1 ? parts.log_sum_all : log_sum(warm);
  double kd = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    if (p[i] > kNothing)
      kd += std::exp(p[i]) * (p[i] - (static_cast<double>(parts.top[i]) / t - log_warm));
  }
  if (!gradient) return t * t * kd;
  exp_shifted(z, parts.log_sum_all);
  const double ce = rule.weight * (1 - rule.share);
  const double kl = rule.weight * rule.share * t;
  const auto plain = static_cast<float>(t == 1 ? ce + kl : ce);
  for (float& each : z) each *= plain;
  if (t != 1) {
    exp_shifted(warm, log_warm);
    for (std::size_t j = 0; j < z.size(); ++j) z[j] += static_cast<float>(kl) * warm[j];
  }
  for (std::size_t i = 0; i < p.size(); ++i)
    z[static_cast<std::size_t>(teacher.ids[i])] -= static_cast<float>(kl * std::exp(p[i]));
  return t * t * kd;
}

}  // namespace

TopKRow top_k_row(std::span<float> z, std::int32_t target, const TopTeacher& teacher,
                  const TopKRule& rule, bool gradient) {
  const auto at = static_cast<std::size_t>(target);
  const auto logit = static_cast<double>(z[at]);
  const Parts parts = take_apart(z, teacher);
  TopKRow row{.ce = parts.log_sum_all - logit, .coverage = parts.mass};
  row.kd = rule.missing == Missing::kTail ? tail_row(z, teacher, parts, rule, gradient)
                                          : renormalised_row(z, teacher, parts, rule, gradient);
  row.value = rule.weight * ((1 - rule.share) * row.ce + rule.share * row.kd);
  if (gradient) z[at] -= static_cast<float>(rule.weight * (1 - rule.share));
  return row;
}

}  // namespace lancet::losses
