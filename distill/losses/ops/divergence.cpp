#include "distill/losses/ops/divergence.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "model/kernels/elementwise.h"

namespace lancet::losses {
namespace {

/// Logarithms below this (masked tokens) are taken as this: products with a probability of 0 stay
/// finite.
constexpr float kLeastLog = -1e4F;
constexpr float kLeastMixture = std::numeric_limits<float>::min();

struct Term {
  double value;  ///< part of D
  double slope;  ///< h_j = dD/dq_j, up to a constant
};

/// D of the mixture M = at p + (1 - at) q, where it has one.
template <typename Of>
double accumulate(std::span<const float> log_p, std::span<const float> log_q,
                  std::span<float> gradient, const Of& of) {
  const std::size_t n = log_p.size();
  thread_local std::vector<float> p, q;
  p.resize(n);
  q.resize(n);
  kernels::exp_row(log_p.data(), p.data(), static_cast<std::int64_t>(n));
  kernels::exp_row(log_q.data(), q.data(), static_cast<std::int64_t>(n));
  double total = 0, mean_slope = 0;
  for (std::size_t j = 0; j < n; ++j) {
    const Term term = of(p[j], q[j], log_p[j], log_q[j]);
    total += term.value;
    mean_slope += static_cast<double>(q[j]) * term.slope;
    if (!gradient.empty()) gradient[j] = static_cast<float>(term.slope);
  }
  for (std::size_t j = 0; j < gradient.size(); ++j)
    gradient[j] = q[j] * (gradient[j] - static_cast<float>(mean_slope));
  return total;
}

double forward(std::span<const float> log_p, std::span<const float> log_q,
               std::span<float> gradient) {
  const std::size_t n = log_p.size();
  thread_local std::vector<float> p;
  p.resize(n);
  kernels::exp_row(log_p.data(), p.data(), static_cast<std::int64_t>(n));
  double total = 0;
  for (std::size_t j = 0; j < n; ++j)
    total += static_cast<double>(p[j]) * static_cast<double>(log_p[j] - log_q[j]);
  if (gradient.empty()) return total;
  kernels::exp_row(log_q.data(), gradient.data(), static_cast<std::int64_t>(n));
  for (std::size_t j = 0; j < n; ++j) gradient[j] -= p[j];
  return total;
}

double log_mixture(double at, float p, float q) {
  return std::log(
      std::max(static_cast<float>(at) * p + static_cast<float>(1 - at) * q, kLeastMixture));
}

}  // namespace

void log_softmax(std::span<float> x, double temperature) {
  if (temperature != 1) {
    const auto by = static_cast<float>(1 / temperature);
    for (float& each : x) each *= by;
  }
  const auto shift =
      static_cast<float>(kernels::log_sum_exp(x.data(), static_cast<std::int64_t>(x.size())));
  for (float& each : x) each = std::max(each - shift, kLeastLog);
}

double divergence(Divergence kind, double mix, std::span<const float> log_p,
                  std::span<const float> log_q, std::span<float> gradient) {
  if (kind == Divergence::kJsd && mix == 0) kind = Divergence::kForward;
  if (kind == Divergence::kJsd && mix == 1) kind = Divergence::kReverse;
  switch (kind) {
    case Divergence::kForward:
      return forward(log_p, log_q, gradient);
    case Divergence::kReverse:
      return accumulate(log_p, log_q, gradient, [](float, float q, float lp, float lq) {
        const auto ratio = static_cast<double>(lq - lp);
        return Term{static_cast<double>(q) * ratio, ratio};
      });
    case Divergence::kJsd:
      return accumulate(log_p, log_q, gradient, [mix](float p, float q, float lp, float lq) {
        const double lm = log_mixture(mix, p, q);
        const double from_p = static_cast<double>(lp) - lm, from_q = static_cast<double>(lq) - lm;
        return Term{
            mix * static_cast<double>(p) * from_p + (1 - mix) * static_cast<double>(q) * from_q,
            (1 - mix) * from_q};
      });
    case Divergence::kSkew:
      return accumulate(log_p, log_q, gradient, [mix](float p, float q, float lp, float) {
        const double lm = log_mixture(mix, p, q);
        return Term{static_cast<double>(p) * (static_cast<double>(lp) - lm),
                    -(1 - mix) * static_cast<double>(p) * std::exp(-lm)};
      });
    case Divergence::kSkewReverse:
      return accumulate(log_p, log_q, gradient, [mix](float p, float q, float, float lq) {
        const double lm = log_mixture(1 - mix, p, q);
        const double ratio = static_cast<double>(lq) - lm;
        return Term{static_cast<double>(q) * ratio,
                    ratio - mix * static_cast<double>(q) * std::exp(-lm)};
      });
  }
  return 0;
}

}  // namespace lancet::losses
