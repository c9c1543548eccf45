#include "merge/ops/elements.h"

#include <algorithm>

namespace lancet::ops {
namespace {

/// Models that change element e.
int changed_by(std::span<const Out> models, std::size_t e, double epsilon) {
  int count = 0;
  for (const Out& model : models) count += std::fabs(model[e]) > epsilon ? 1 : 0;
  return count;
}

}  // namespace

void largest_agreeing(Out sums, std::span<const Out> models, double factor) {
  for (std::size_t e = 0; e < sums.size(); ++e) {
    const double sign = sums[e] > 0 ? 1.0 : sums[e] < 0 ? -1.0 : 0.0;
    double largest = 0;
    for (const Out& model : models) largest = std::max(largest, sign * model[e]);
    sums[e] = factor * sign * largest;
  }
}

void keep_larger(Out out, In x) {
  for (std::size_t e = 0; e < out.size(); ++e) {
    const double size = std::fabs(x[e]), best = std::fabs(out[e]);
    out[e] = size > best || (size == best && x[e] > out[e]) ? x[e] : out[e];
  }
}

void keep_used(Out total, std::span<const Out> models, std::span<const double> bounds, int least,
               double factor) {
  for (std::size_t e = 0; e < total.size(); ++e) {
    int users = 0;
    for (std::size_t i = 0; i < models.size(); ++i) {
      const double own = models[i][e];
      users += std::fabs(own) >= bounds[i] * std::fabs(total[e] - own) ? 1 : 0;
    }
    total[e] = users >= least ? factor * total[e] : 0;
  }
}

void swap_near(Out out, In a, In b, double t, double smallest) {
  for (std::size_t e = 0; e < out.size(); ++e) {
    const double share = std::min(1.0, t / std::max(std::fabs(a[e] - b[e]), smallest));
    out[e] = share * b[e] + (1 - share) * a[e];
  }
}

void add_mean_change(Out out, In base, std::span<const Out> models, double epsilon) {
  for (std::size_t e = 0; e < out.size(); ++e) {
    double sum = 0;
    int count = 0;
    for (const Out& model : models) {
      if (!(std::fabs(model[e]) > epsilon)) continue;
      sum += model[e];
      ++count;
    }
    out[e] = base[e] + (count > 1 ? sum / count : sum);
  }
}

void count_changes(std::span<double> counts, std::span<const Out> models, double epsilon) {
  for (std::size_t e = 0; e < models[0].size(); ++e) {
    const std::size_t shared = changed_by(models, e, epsilon) > 1 ? 1 : 0;
    for (std::size_t k = 0; k < models.size(); ++k) {
      if (std::fabs(models[k][e]) > epsilon) counts[2 * k + shared] += 1;
    }
  }
}

void add_scaled_changes(Out out, In base, std::span<const Out> models,
                        std::span<const double> factors, double epsilon) {
  for (std::size_t e = 0; e < out.size(); ++e) {
    const int count = changed_by(models, e, epsilon);
    double sum = 0;
    for (std::size_t k = 0; k < models.size(); ++k) {
      const double delta = models[k][e];
      if (std::fabs(delta) > epsilon) sum += count == 1 ? factors[k] * delta : delta / count;
    }
    out[e] = base[e] + sum;
  }
}

void add_from_key(Out sum, Out count, In x, std::span<const std::uint32_t> keys, double least) {
  for (std::size_t e = 0; e < sum.size(); ++e) {
    if (static_cast<double>(keys[e]) < least || keys[e] == 0) continue;
    sum[e] += x[e];
    count[e] += 1;
  }
}

void choose_by(Out out, In a, In b, In measure, double threshold) {
  for (std::size_t e = 0; e < out.size(); ++e) {
    const auto size = static_cast<double>(static_cast<float>(std::fabs(measure[e])));
    out[e] = size >= threshold ? b[e] : a[e];
  }
}

void distance(Out out, In a, In b) {
  for (std::size_t e = 0; e < out.size(); ++e) out[e] = std::fabs(a[e] - b[e]);
}

void scaled_distance(Out out, In a, In b, double factor) {
  for (std::size_t e = 0; e < out.size(); ++e) out[e] = std::fabs(a[e] - b[e]) * factor;
}

void softmax(Out out, In x) {
  const double largest = *std::ranges::max_element(x);
  double sum = 0;
  for (std::size_t e = 0; e < x.size(); ++e) sum += out[e] = std::exp(x[e] - largest);
  for (double& v : out) v /= sum;
}

double divergence(In p, In q, double epsilon) {
  double sum = 0;
  for (std::size_t e = 0; e < p.size(); ++e)
    sum += p[e] * (std::log(p[e] + epsilon) - std::log(q[e] + epsilon));
  return sum;
}

void widen_by_products(Range& range, In a, In b) {
  for (std::size_t e = 0; e < a.size(); ++e) {
    range.low = std::min(range.low, a[e] * b[e]);
    range.high = std::max(range.high, a[e] * b[e]);
  }
}

void add_exponentials(double& sum, double* power, double n, const Range& range, In a, In b) {
  for (std::size_t e = 0; e < a.size(); ++e) {
    const double value = range.part(a[e] * b[e]);
    sum += std::exp(value);
    if (power != nullptr) *power += std::exp(n * value);
  }
}

void add_softmax(Out out, In a, In b, const Range& range, double divisor) {
  for (std::size_t e = 0; e < out.size(); ++e)
    out[e] += std::exp(range.part(a[e] * b[e])) / divisor;
}

void scale_by_softmax(Out out, In a, double n, const Range& range, double divisor) {
  for (std::size_t e = 0; e < out.size(); ++e)
    out[e] = std::exp(n * range.part(a[e] * a[e])) / divisor * out[e];
}

}  // namespace lancet::ops
