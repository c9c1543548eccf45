#pragma once
// The learning rate over a run, as a factor of its highest value.

#include <cstdint>
#include <string>

#include "distill/train/requests.h"

namespace lancet {

class Schedule {
 public:
  /// kUsage for a name that is none, or values out of range.
  Schedule(const ScheduleSettings& settings, std::int64_t steps);

  [[nodiscard]] std::int64_t warmup_steps() const noexcept { return warmup_; }
  /// What of the settings a run of so many steps has no room for, as a sentence; else empty.
  [[nodiscard]] std::string unmet() const;
  /// Of step `step`, from 0. Warm-up: (step + 1) / warm-up steps. Behind it, with progress p from 0
  /// at its end to 1 at the last step's end: cosine floor + (1 - floor) (1 + cos pi p) / 2, linear
  /// 1 - (1 - floor) p, constant 1, wsd 1 until the last `decay` of all steps and then linear.
  [[nodiscard]] double factor(std::int64_t step) const;

 private:
  enum class Kind { kCosine, kLinear, kConstant, kWsd };
  Kind kind_ = Kind::kCosine;
  std::int64_t steps_ = 0, wanted_warmup_ = 0, warmup_ = 0, decay_ = 0;
  double floor_ = 0;
};

}  // namespace lancet
