#pragma once
// Requests that have no answer yet: those that may be sent, those that wait after a failure.

#include <algorithm>
#include <deque>
#include <memory>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "distill/teacher/client.h"

namespace lancet {

struct OpenRequest {
  TeacherRequest request;
  std::string key;
  std::string body;  ///< canonical
  TokenBound bound;
  std::uint64_t estimate = 0;  ///< tokens, for the minute's window
  std::uint32_t attempt = 0;   ///< of those that count
  std::uint32_t put_off = 0;   ///< times a busy server sent it away
  std::vector<TeacherClient::Done> done;
};
using OpenPtr = std::shared_ptr<OpenRequest>;

class RequestQueue {
 public:
  void push(OpenPtr open) { ready_.push_back(std::move(open)); }
  void push_at(double when, OpenPtr open) { delayed_.push({when, std::move(open)}); }
  /// Those whose time has come go before all others. Returns seconds until the next one's; `never`
  /// when there is none.
  double release(double now, double never) {
    while (!delayed_.empty() && delayed_.top().when <= now) {
      ready_.push_front(delayed_.top().open);
      delayed_.pop();
    }
    return delayed_.empty() ? never : delayed_.top().when - now;
  }
  [[nodiscard]] bool empty() const noexcept { return ready_.empty(); }
  [[nodiscard]] const OpenPtr& front() const { return ready_.front(); }
  OpenPtr pop() {
    OpenPtr out = std::move(ready_.front());
    ready_.pop_front();
    return out;
  }

 private:
  struct Delayed {
    double when;
    OpenPtr open;
    bool operator>(const Delayed& other) const noexcept { return when > other.when; }
  };
  std::deque<OpenPtr> ready_;
  std::priority_queue<Delayed, std::vector<Delayed>, std::greater<>> delayed_;
};

}  // namespace lancet
