#include "distill/train/schedule.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/text.h"

namespace lancet {
namespace {

constexpr std::array<std::string_view, 4> kNames{"cosine", "linear", "constant", "wsd"};

void check(bool good, std::string_view what, double found) {
  if (!good) fail(ErrorKind::kUsage, "train", fmt::format("expected {}, found {}", what, found));
}

}  // namespace

Schedule::Schedule(const ScheduleSettings& settings, std::int64_t steps) : steps_(steps) {
  const auto* const at = std::ranges::find(kNames, settings.name);
  if (at == kNames.end())
    fail(ErrorKind::kUsage, "train",
         fmt::format("expected a schedule of {}, found '{}'", fmt::join(kNames, ", "),
                     printable(settings.name)),
         did_you_mean(settings.name, {kNames.begin(), kNames.end()}));
  kind_ = static_cast<Kind>(at - kNames.begin());
  check(settings.warmup >= 0 && settings.warmup <= 1e9, "a warm-up of at least 0", settings.warmup);
  check(settings.floor >= 0 && settings.floor <= 1,
        "a last learning rate from 0 to 1 times the "
        "highest",
        settings.floor);
  check(settings.decay > 0 && settings.decay <= 1, "a decay above 0 and at most 1", settings.decay);
  check(settings.warmup < 1 || settings.warmup == std::floor(settings.warmup),
        "a warm-up of a share below 1 or a whole number of steps", settings.warmup);
  const auto total = static_cast<double>(steps);
  const double warmup = settings.warmup < 1 ? std::ceil(settings.warmup * total) : settings.warmup;
  wanted_warmup_ = static_cast<std::int64_t>(warmup);
  warmup_ = std::min(wanted_warmup_, steps);
  decay_ = static_cast<std::int64_t>(std::ceil(settings.decay * total));
  floor_ = settings.floor;
}

std::string Schedule::unmet() const {
  if (wanted_warmup_ > steps_)
    return fmt::format("--warmup: {} steps of warm-up in a run of {}, which ends on its way up",
                       wanted_warmup_, steps_);
  // Each is rounded up to whole steps.
  if (kind_ == Kind::kWsd && warmup_ + decay_ > steps_ + 1)
    return fmt::format(
        "--decay: the warm-up leaves {} steps for a decay of {}, which begins behind it",
        steps_ - warmup_, decay_);
  return {};
}

double Schedule::factor(std::int64_t step) const {
  const auto share = [](std::int64_t part, std::int64_t whole) {
    return static_cast<double>(part) / static_cast<double>(std::max<std::int64_t>(whole, 1));
  };
  if (step < warmup_) return share(step + 1, warmup_);
  const std::int64_t begin = kind_ == Kind::kWsd ? std::max(warmup_, steps_ - decay_) : warmup_;
  const double p = std::clamp(share(step - begin, steps_ - begin), 0.0, 1.0);
  switch (kind_) {
    case Kind::kCosine:
      return floor_ + (1 - floor_) * (1 + std::cos(std::numbers::pi * p)) / 2;
    case Kind::kLinear:
    case Kind::kWsd:
      return 1 - (1 - floor_) * p;
    case Kind::kConstant:
      break;
  }
  return 1;
}

}  // namespace lancet
