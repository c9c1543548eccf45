#include "distill/teacher/limiter.h"

#include <algorithm>

namespace lancet {
namespace {

constexpr double kMinute = 60;

}  // namespace

Limiter::Limiter(double initial, double most) : window_(std::min(initial, most)), most_(most) {}

std::uint64_t Limiter::whole() const noexcept {
  return static_cast<std::uint64_t>(std::max(1.0, window_));
}

std::uint64_t Limiter::start() noexcept {
  ++in_flight_;
  return ++next_ticket_;
}

void Limiter::succeed(std::uint64_t ticket) noexcept {
  const bool was_full = in_flight_ >= whole();
  end(ticket);
  // A window that is not used is no evidence that a larger one would hold.
  if (was_full) window_ = std::min(most_, window_ + 1 / window_);
}

void Limiter::overload(std::uint64_t ticket) noexcept {
  end(ticket);
  if (ticket <= last_cut_) return;  // the same congestion, already answered
  window_ = std::max(1.0, window_ / 2);
  last_cut_ = next_ticket_;
}

void Limiter::end(std::uint64_t) noexcept {
  if (in_flight_ > 0) --in_flight_;
}

double MinuteWindow::wait(double now, std::uint64_t amount) const {
  if (limit_ == 0) return 0;
  // Walk the oldest takings out of the minute until there is room.
  std::uint64_t sum = sum_;
  auto oldest = taken_.begin();
  while (oldest != taken_.end() && oldest->when + kMinute <= now) sum -= (oldest++)->amount;
  const std::uint64_t room = amount >= limit_ ? 0 : limit_ - amount;
  double until = now;
  while (sum > room && oldest != taken_.end()) {
    until = oldest->when + kMinute;
    sum -= (oldest++)->amount;
  }
  return until - now;
}

void MinuteWindow::take(double now, std::uint64_t amount) {
  if (limit_ == 0) return;
  forget(now);
  taken_.push_back({now, amount});
  sum_ += amount;
}

void MinuteWindow::correct(double when, std::uint64_t taken, std::uint64_t actual) {
  if (limit_ == 0) return;
  const auto first = std::lower_bound(taken_.begin(), taken_.end(), when,
                                      [](const Taken& each, double at) { return each.when < at; });
  for (auto each = first; each != taken_.end() && each->when == when; ++each) {
    if (each->amount != taken) continue;
    each->amount = actual;
    sum_ = sum_ - taken + actual;
    return;
  }
}

void MinuteWindow::forget(double now) {
  while (!taken_.empty() && taken_.front().when + kMinute <= now) {
    sum_ -= taken_.front().amount;
    taken_.pop_front();
  }
}

}  // namespace lancet
