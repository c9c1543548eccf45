#include "surgery/guard.h"

#include <cmath>

#include <fmt/format.h>

namespace lancet {

GuardVerdict judge(const GuardValues& values, const GuardLimits& limits) {
  GuardVerdict out;
  const auto check = [&](const char* name, double found, double limit, bool at_most) {
    // A value that is not a number passes no guard.
    const bool good = at_most ? found <= limit : found >= limit;
    if (good) return;
    out.passed = false;
    out.problems.push_back(fmt::format("{}: expected {} {}, found {:.4g}", name,
                                       at_most ? "at most" : "at least", limit, found));
  };
  out.json = Json::object();
  if (values.leak_rate) {
    out.json["leak_rate"] = *values.leak_rate;
    check("leak_rate", *values.leak_rate, limits.leak, true);
  }
  if (values.perplexity_before && values.perplexity_after) {
    const double ratio = *values.perplexity_after / *values.perplexity_before;
    out.json["perplexity_ratio"] = ratio;
    out.json["perplexity_before"] = *values.perplexity_before;
    out.json["perplexity_after"] = *values.perplexity_after;
    check("perplexity_ratio", ratio, limits.perplexity_ratio, true);
  }
  out.json["relative_norm"] = values.relative_norm;
  check("relative_norm", values.relative_norm, limits.relative_norm, true);
  out.json["spectral_ratio"] = values.spectral_ratio;
  if (values.denominator) {
    out.json["denominator"] = *values.denominator;
    check("denominator", *values.denominator, limits.denominator, false);
  }
  out.json["limits"] = {{"leak_rate", limits.leak},
                        {"perplexity_ratio", limits.perplexity_ratio},
                        {"relative_norm", limits.relative_norm},
                        {"denominator", limits.denominator}};
  out.json["passed"] = out.passed;
  return out;
}

double spectral_norm(const at::Tensor& matrix, std::int64_t iterations) {
  const at::Tensor w = matrix.to(at::kCPU, at::kDouble);
  at::Tensor x = at::ones({w.size(1)}, at::kDouble) / std::sqrt(static_cast<double>(w.size(1)));
  double norm = 0;
  for (std::int64_t i = 0; i < iterations; ++i) {
    const at::Tensor y = at::mv(w.t(), at::mv(w, x));
    norm = y.norm().item<double>();
    if (!(norm > 0)) return 0;
    x = y / norm;
  }
  return std::sqrt(norm);
}

}  // namespace lancet
