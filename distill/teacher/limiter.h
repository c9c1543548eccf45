#pragma once
// How many requests an endpoint is given at a time, and how many a minute. Pure logic: the caller
// says what time it is (seconds of any clock that only goes forward).

#include <cstdint>
#include <deque>

namespace lancet {

/// Additive increase, multiplicative decrease, as TCP does it (Jacobson 1988): one more for each
/// window of answers, half for a sign of overload, at most once for each window in flight.
class Limiter {
 public:
  Limiter(double initial, double most);

  [[nodiscard]] bool has_room() const noexcept { return in_flight_ < whole(); }
  [[nodiscard]] std::uint64_t in_flight() const noexcept { return in_flight_; }
  /// Requests allowed at a time, at least 1.
  [[nodiscard]] std::uint64_t window() const noexcept { return whole(); }

  /// A ticket to hand back when the request has ended.
  [[nodiscard]] std::uint64_t start() noexcept;
  /// An answer in good time.
  void succeed(std::uint64_t ticket) noexcept;
  /// 429, 503, a time-out, or an answer slower than wanted.
  void overload(std::uint64_t ticket) noexcept;
  /// Any other failure: says nothing about load.
  void end(std::uint64_t ticket) noexcept;

 private:
  double window_;
  double most_;
  std::uint64_t in_flight_ = 0;
  std::uint64_t next_ticket_ = 0;
  std::uint64_t last_cut_ = 0;  ///< tickets before this one were given before the last decrease
  [[nodiscard]] std::uint64_t whole() const noexcept;
};

/// At most `limit` units in any 60 seconds, counted exactly.
class MinuteWindow {
 public:
  explicit MinuteWindow(std::uint64_t limit) : limit_(limit) {}  ///< 0 = no limit

  /// Seconds from `now` until `amount` more may be taken; 0 = now. What is larger than the limit
  /// itself waits for an empty minute.
  [[nodiscard]] double wait(double now, std::uint64_t amount) const;
  void take(double now, std::uint64_t amount);
  /// The taking at `when` turned out to be `actual` instead of `taken`.
  void correct(double when, std::uint64_t taken, std::uint64_t actual);

 private:
  struct Taken {
    double when;
    std::uint64_t amount;
  };
  std::uint64_t limit_;
  std::uint64_t sum_ = 0;
  std::deque<Taken> taken_;  ///< by time
  void forget(double now);
};

}  // namespace lancet
