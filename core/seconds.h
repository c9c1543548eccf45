#pragma once
// Time by the clock.

#include <chrono>

namespace lancet {

/// Runs from its making on.
class Timer {
 public:
  [[nodiscard]] double seconds() const {
    return std::chrono::duration<double>(Clock::now() - start_).count();
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

/// What a call took.
template <typename Body>
[[nodiscard]] double seconds_of(const Body& body) {
  const Timer watch;
  body();
  return watch.seconds();
}

}  // namespace lancet
