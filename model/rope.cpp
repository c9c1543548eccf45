#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <numbers>

#include <c10/core/InferenceMode.h>

namespace lancet {
namespace {

/// base^(2i / dims), float32 throughout like the reference.
at::Tensor powers(double base, std::int64_t dims) {
  const at::Tensor exponent =
      at::arange(0, dims, 2, at::kLong).to(at::kFloat) / static_cast<double>(dims);
  return at::pow(at::Scalar(base), exponent);
}

/// Llama 3.1: wavelengths beyond original / low are slowed by `factor`, those below original / high
/// kept, between them a linear blend in original / wavelength.
at::Tensor llama3(const RopeSpec& spec, const at::Tensor& plain) {
  const auto original = static_cast<double>(spec.original_positions);
  const double low = original / spec.low_freq_factor;
  const double high = original / spec.high_freq_factor;
  const at::Tensor wavelength = (2 * std::numbers::pi) / plain;
  const at::Tensor slowed = at::where(wavelength > low, plain / spec.factor, plain);
  const at::Tensor blend = (original / wavelength - spec.low_freq_factor) /
                           (spec.high_freq_factor - spec.low_freq_factor);
  const at::Tensor between = (1 - blend) * slowed / spec.factor + blend * slowed;
  return at::where(at::logical_and(wavelength >= high, wavelength <= low), between, slowed);
}

/// YaRN (arXiv:2309.00071): dimensions that turn more than beta_fast times within the trained
/// length are kept, less than beta_slow times interpolated, between them a ramp over the dimension
/// index.
at::Tensor yarn(const RopeSpec& spec, const at::Tensor& power) {
  const auto dims = static_cast<double>(spec.dims);
  const auto dimension_of = [&](double turns) {
    return dims *
           std::log(static_cast<double>(spec.original_positions) / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(spec.theta));
  };
  double low = dimension_of(spec.beta_fast);
  double high = dimension_of(spec.beta_slow);
  if (spec.yarn_truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dims - 1);
  if (low == high) high += 0.001;
  const at::Tensor ramp =
      ((at::arange(spec.dims / 2, at::kFloat) - low) / (high - low)).clamp(0, 1);
  const at::Tensor keep = 1 - ramp;
  return 1.0 / (spec.factor * power) * (1 - keep) + 1.0 / power * keep;
}

}  // namespace

at::Tensor inverse_frequencies(const RopeSpec& spec, std::int64_t trained, std::int64_t length) {
  switch (spec.kind) {
    case RopeKind::kNone:
    case RopeKind::kDefault:
      return 1.0 / powers(spec.theta, spec.dims);
    case RopeKind::kLinear:
      return 1.0 / powers(spec.theta, spec.dims) / spec.factor;
    case RopeKind::kDynamic: {
      const auto dims = static_cast<double>(spec.dims);
      const double ratio =
          static_cast<double>(std::max(length, trained)) / static_cast<double>(trained);
      const double base =
          spec.theta * std::pow(spec.factor * ratio - (spec.factor - 1), dims / (dims - 2));
      return 1.0 / powers(base, spec.dims);
    }
    case RopeKind::kLlama3:
      return llama3(spec, 1.0 / powers(spec.theta, spec.dims));
    case RopeKind::kYarn:
      return yarn(spec, powers(spec.theta, spec.dims));
    case RopeKind::kLongRope: {
      const auto& factors =
          length > spec.original_positions ? spec.long_factors : spec.short_factors;
      return 1.0 /
             (at::tensor(factors, at::kDouble).to(at::kFloat) * powers(spec.theta, spec.dims));
    }
  }
  return {};
}

struct RopeCache::State {
  RopeSpec spec;
  std::int64_t trained = 0;
  std::mutex mutex;
  /// By regime, see regime(), and device.
  std::map<std::pair<std::int64_t, std::string>, RopeTable> tables;

  /// Lengths with equal frequencies share a table: 0 up to the trained length; beyond it one for
  /// all longer ones (longrope) or one for each length (dynamic).
  [[nodiscard]] std::int64_t regime(std::int64_t length) const {
    if (spec.kind == RopeKind::kDynamic && length > trained) return length;
    if (spec.kind == RopeKind::kLongRope && length > spec.original_positions) return 1;
    return 0;
  }
};

RopeCache::RopeCache(const RopeSpec& spec, std::int64_t trained)
    : state_(std::make_unique<State>()) {
  state_->spec = spec;
  state_->trained = trained;
}

RopeCache::RopeCache(RopeCache&&) noexcept = default;
RopeCache::~RopeCache() = default;

RopeTable RopeCache::table(std::int64_t length, std::int64_t positions,
                           const at::Device& device) const {
  const std::lock_guard lock(state_->mutex);
  const std::int64_t regime = state_->regime(length);
  if (state_->spec.kind == RopeKind::kDynamic && regime != 0) {
    std::erase_if(state_->tables, [&](const auto& entry) {
      const std::int64_t other = entry.first.first;
      return other != 0 && other != regime;
    });
  }
  RopeTable& table = state_->tables[{regime, device.str()}];
  if (!table.cos.defined() || table.cos.size(0) < positions) {
    const c10::InferenceMode kept_for_later_passes(false);
    std::int64_t rows = 512;
    while (rows < positions) rows *= 2;
    const at::Tensor angles =
        at::arange(rows, at::kFloat).unsqueeze(1) *
        inverse_frequencies(state_->spec, state_->trained, length).unsqueeze(0);
    table.cos = (angles.cos() * state_->spec.attention_factor).to(device);
    table.sin = (angles.sin() * state_->spec.attention_factor).to(device);
  }
  return table;
}

}  // namespace lancet
