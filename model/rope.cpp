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

std::int64_t rope_regime(const RopeSpec& spec, std::int64_t trained, std::int64_t length) {
  if (spec.kind == RopeKind::kDynamic && length > trained) return length;
  if (spec.kind == RopeKind::kLongRope && length > spec.original_positions) return 1;
  return 0;
}

struct RopeCache::State {
  RopeSpec spec;
  std::int64_t trained = 0;
  std::mutex mutex;
  /// By regime and device. Not of dynamic scaling beyond the trained length, which has a regime for
  /// each length: such a table is made for the positions of a pass.
  std::map<std::pair<std::int64_t, std::string>, RopeTable> tables;

  [[nodiscard]] bool keeps(std::int64_t regime) const {
    return spec.kind != RopeKind::kDynamic || regime == 0;
  }

  /// Positions [first, first + count) of a text of `length` tokens.
  [[nodiscard]] RopeTable make(std::int64_t length, std::int64_t first, std::int64_t count,
                               const at::Device& device) const {
    const at::Tensor angles = at::arange(first, first + count, at::kFloat).unsqueeze(1) *
                              inverse_frequencies(spec, trained, length).unsqueeze(0);
    return {(angles.cos() * spec.attention_factor).to(device),
            (angles.sin() * spec.attention_factor).to(device)};
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
  const std::int64_t regime = rope_regime(state_->spec, state_->trained, length);
  if (!state_->keeps(regime)) return state_->make(length, 0, positions, device);
  const std::lock_guard lock(state_->mutex);
  RopeTable& table = state_->tables[{regime, device.str()}];
  if (!table.cos.defined() || table.cos.size(0) < positions) {
    const c10::InferenceMode kept_for_later_passes(false);
    std::int64_t rows = 512;
    while (rows < positions) rows *= 2;
    table = state_->make(length, 0, rows, device);
  }
  return table;
}

RopeRows RopeCache::rows(const std::vector<RopeText>& texts, const at::Device& device) const {
  const auto regime = [&](const RopeText& text) {
    return rope_regime(state_->spec, state_->trained, text.length);
  };
  const std::int64_t shared = regime(texts.front());
  RopeRows out;
  if (state_->keeps(shared) &&
      std::ranges::all_of(texts, [&](const RopeText& text) { return regime(text) == shared; })) {
    std::int64_t positions = 0;
    for (const RopeText& text : texts) {
      positions = std::max(positions, text.start + text.tokens);
      out.first.push_back(text.start);
    }
    out.table = table(texts.front().length, positions, device);
    return out;
  }
  std::vector<at::Tensor> cos, sin;
  std::int64_t first = 0;
  for (const RopeText& text : texts) {
    RopeTable own;
    if (state_->keeps(regime(text))) {
      const RopeTable all = table(text.length, text.start + text.tokens, device);
      own = {all.cos.narrow(0, text.start, text.tokens),
             all.sin.narrow(0, text.start, text.tokens)};
    } else {
      own = state_->make(text.length, text.start, text.tokens, device);
    }
    cos.push_back(own.cos);
    sin.push_back(own.sin);
    out.first.push_back(first);
    first += text.tokens;
  }
  out.table = {at::cat(cos), at::cat(sin)};
  return out;
}

}  // namespace lancet
