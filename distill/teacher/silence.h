#pragma once
// How long nobody has answered, when that is said, and when it is enough. Pure logic: the caller
// says what time it is (seconds of any clock that only goes forward).

#include <algorithm>
#include <string>
#include <utility>

namespace lancet {

class Silence {
 public:
  /// Seconds without a sign of life that are too many: `start` while there has never been one, else
  /// `later`.
  Silence(double start, double later) : start_(start), later_(later) {}

  /// Whether somebody is waited for from now on. Other time does not count.
  void wait(double now, bool waited_for) noexcept {
    if (waits_ == waited_for) return;
    if (waited_for) {
      since_ += now - stopped_;
      told_ += now - stopped_;
    }
    stopped_ = now;
    waits_ = waited_for;
  }
  /// A sign of life: an answer, a refusal, 429.
  void end(double now) noexcept {
    since_ = told_ = stopped_ = now;
    failed_ = false;
    named_ = 0;
    ever_ = true;
  }
  /// Somebody is there who has not been asked anything yet: the first answer may take its time.
  void greet() noexcept { greeted_ = true; }
  /// A response that is none: a connection that fails, 5xx, a damaged one.
  void miss(std::string what) {
    failed_ = true;
    what_ = std::move(what);
  }
  /// A server asked for so many seconds of quiet: the longest such wait counts once.
  void allow(double seconds) noexcept { named_ = std::max(named_, seconds); }

  /// Whether `later` holds and not `start`. `all`: every endpoint has failed several times in a
  /// row.
  [[nodiscard]] bool is_patient(bool all) const noexcept { return ever_ || (greeted_ && !all); }
  /// Something was a miss since the last sign of life.
  [[nodiscard]] bool has_failed() const noexcept { return failed_; }
  [[nodiscard]] double seconds(double now) const noexcept {
    return (waits_ ? now : stopped_) - since_;
  }
  /// What failed last in it.
  [[nodiscard]] std::string what() const { return failed_ ? what_ : "nothing came back"; }
  [[nodiscard]] bool is_too_long(double now, bool all) const noexcept {
    return seconds(now) >= (is_patient(all) ? later_ : start_) + named_;
  }
  /// True once for every minute of it.
  [[nodiscard]] bool is_to_be_told(double now) noexcept {
    constexpr double kMinute = 60;
    if (!waits_ || now - told_ < kMinute) return false;
    told_ = now;
    return true;
  }

 private:
  double start_, later_;
  double since_ = 0, told_ = 0, named_ = 0;
  double stopped_ = 0;  ///< where time that does not count began
  bool waits_ = false, ever_ = false, greeted_ = false, failed_ = false;
  std::string what_;
};

}  // namespace lancet
