#pragma once
// How long nobody has answered, when that is said, and when it is enough. Pure logic: the caller
// says what time it is (seconds of any clock that only goes forward).

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

namespace lancet {

class Silence {
 public:
  /// Seconds without a sign of life that are too many: `start` from the first failure on while
  /// there has never been one, else `later`.
  Silence(double start, double later) : start_(start), later_(later) {}

  /// Somebody is asked, after a time in which nobody was.
  void begin(double now) noexcept {
    if (ever_ || !first_miss_) restart(now);
  }
  /// A sign of life: an answer, a refusal, 429.
  void end(double now) noexcept {
    restart(now);
    ever_ = true;
  }
  /// A response that is none: a connection that fails, 5xx, a damaged one.
  void miss(double now, std::string what) {
    if (!first_miss_) first_miss_ = now;
    what_ = std::move(what);
  }
  /// A server asked for so many seconds of quiet: the longest such wait counts once.
  void allow(double seconds) noexcept { named_ = std::max(named_, seconds); }

  [[nodiscard]] bool was_broken() const noexcept { return ever_; }
  [[nodiscard]] double seconds(double now) const noexcept { return now - since_; }
  /// What failed last in it.
  [[nodiscard]] std::string what() const { return first_miss_ ? what_ : "nothing came back"; }
  /// `all`: every endpoint has failed several times in a row.
  [[nodiscard]] bool is_too_long(double now, bool all) const noexcept {
    if (ever_) return seconds(now) >= later_ + named_;
    return all && first_miss_ && now - *first_miss_ >= start_ + named_;
  }
  /// True once for every minute in which nothing but failures came.
  [[nodiscard]] bool is_to_be_told(double now) noexcept {
    constexpr double kMinute = 60;
    if (!first_miss_ || now - told_ < kMinute) return false;
    told_ = now;
    return true;
  }

 private:
  double start_, later_;
  double since_ = 0, told_ = 0, named_ = 0;
  bool ever_ = false;
  std::optional<double> first_miss_;
  std::string what_;

  void restart(double now) noexcept {
    since_ = told_ = now;
    first_miss_.reset();
    named_ = 0;
  }
};

}  // namespace lancet
