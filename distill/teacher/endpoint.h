#pragma once
// One server: how much it may be given now, and whether it is alive.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "distill/teacher/client.h"
#include "distill/teacher/limiter.h"

namespace lancet {

class Endpoint {
 public:
  Endpoint(std::string url, const TeacherLimits& limits)
      : url_(std::move(url)),
        limiter_(std::min<double>(8, limits.concurrency), limits.concurrency),
        requests_(limits.requests_per_minute),
        tokens_(limits.tokens_per_minute) {}

  [[nodiscard]] const std::string& url() const noexcept { return url_; }
  [[nodiscard]] Limiter& limiter() noexcept { return limiter_; }
  [[nodiscard]] std::uint64_t in_flight() const noexcept { return limiter_.in_flight(); }
  [[nodiscard]] MinuteWindow& tokens() noexcept { return tokens_; }

  /// Seconds until a request of so many tokens may be sent; infinite while it has no room.
  [[nodiscard]] double wait(double now, std::uint64_t tokens) const {
    if (!limiter_.has_room() || (failures_ >= kDead && limiter_.in_flight() > 0)) return kNever;
    return std::max({0.0, pause_until_ - now, requests_.wait(now, 1), tokens_.wait(now, tokens)});
  }
  void take(double now, std::uint64_t tokens) {
    requests_.take(now, 1);
    tokens_.take(now, tokens);
  }
  /// The server asked for quiet.
  void pause(double until) noexcept { pause_until_ = std::max(pause_until_, until); }

  /// It closes connections that it said it would keep (llama.cpp after a stream): from now on every
  /// request has its own.
  void mark_closing() noexcept { closing_ = true; }
  [[nodiscard]] bool is_closing() const noexcept { return closing_; }

  void succeed() noexcept { failures_ = unanswered_ = 0; }
  /// A response that is no sign of life: none at all, 5xx, or damaged. True for the first of all.
  bool miss() noexcept {
    ++unanswered_;
    return !std::exchange(missed_, true);
  }
  /// It has missed so often in a row that nobody is taken to be there.
  [[nodiscard]] bool is_silent() const noexcept { return unanswered_ >= kDead; }
  /// A failure that may mean that the server is gone: after three in a row it is set aside, each
  /// time for longer, and then tried with one request at a time. True when it is set aside now.
  bool fail_at(double now) noexcept {
    if (now < aside_until_) return false;  // the rest of those that were under way
    if (++failures_ < kDead) return false;
    aside_until_ =
        now + std::min(60.0, static_cast<double>(1ULL << std::min(failures_ - kDead, 6U)));
    pause(aside_until_);
    return true;
  }
  [[nodiscard]] bool is_aside() const noexcept { return failures_ >= kDead; }

  static constexpr double kNever = 1e300;

 private:
  static constexpr std::uint32_t kDead = 3;
  std::string url_;
  Limiter limiter_;
  MinuteWindow requests_, tokens_;
  double pause_until_ = 0, aside_until_ = 0;
  std::uint32_t failures_ = 0, unanswered_ = 0;
  bool closing_ = false, missed_ = false;
};

/// The endpoint that may take a request of so many tokens first, of equal ones the idlest, and in
/// how many seconds; Endpoint::kNever when none has room.
[[nodiscard]] inline std::pair<std::size_t, double> soonest_endpoint(
    const std::vector<Endpoint>& endpoints, double now, std::uint64_t tokens) {
  std::size_t best = endpoints.size();
  double soonest = Endpoint::kNever;
  for (std::size_t i = 0; i < endpoints.size(); ++i) {
    const double its = endpoints[i].wait(now, tokens);
    const bool idler = best < endpoints.size() && its == soonest &&
                       endpoints[i].in_flight() < endpoints[best].in_flight();
    if (its < soonest || idler) {
      best = i;
      soonest = its;
    }
  }
  return {best, soonest};
}

}  // namespace lancet
