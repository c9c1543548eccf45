#include "core/crew.h"

#include <atomic>
#include <chrono>
#include <exception>
#include <mutex>
#include <thread>

namespace lancet::parallel {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::microseconds kAwake{1000};  ///< behind the last loop
constexpr int kSpins = 64;                         ///< between two looks at the clock

void pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

/// Whether this thread is at an index of a loop.
thread_local bool in_loop = false;

struct Loop {
  std::int64_t count;
  const std::function<void(std::int64_t)>& body;
  std::atomic<std::int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;

  void take() noexcept {
    in_loop = true;
    try {
      for (std::int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) body(i);
    } catch (...) {
      next.store(count);
      const std::lock_guard lock(mutex);
      if (error == nullptr) error = std::current_exception();
    }
    in_loop = false;
  }
};

class Crew {
 public:
  /// False where another thread has its loop here.
  bool run(Loop& loop, int threads) {
    if (busy_.exchange(true)) return false;
    open_.store(&loop);
    generation_.fetch_add(1);
    for (int missing = threads - 1 - helpers_.load(); missing > 0; --missing) {
      helpers_.fetch_add(1);
      spawn([this] { help(); });
    }
    loop.take();
    open_.store(nullptr);
    // A helper counts itself before it looks for a loop: with none inside, none sees this one.
    for (int spins = 0; inside_.load() != 0; ++spins)
      spins < kSpins* kSpins ? pause() : std::this_thread::yield();
    busy_.store(false);
    return true;
  }

 private:
  void help() noexcept {
    std::uint64_t seen = 0;
    Clock::time_point end = Clock::now() + kAwake;
    while (true) {
      int spins = 0;
      while (generation_.load() == seen && spins < kSpins) {
        pause();
        ++spins;
      }
      if (const std::uint64_t now = generation_.load(); now != seen) {
        seen = now;
        join();
        end = Clock::now() + kAwake;
      } else if (Clock::now() > end) {
        break;
      }
    }
    helpers_.fetch_sub(1);
  }

  void join() noexcept {
    inside_.fetch_add(1);
    if (Loop* const loop = open_.load(); loop != nullptr) loop->take();
    inside_.fetch_sub(1);
  }

  std::atomic<bool> busy_{false};
  std::atomic<Loop*> open_{nullptr};
  std::atomic<std::uint64_t> generation_{0};
  std::atomic<int> helpers_{0};  ///< awake, or about to be
  std::atomic<int> inside_{0};   ///< of them, those that may hold the open loop
};

Crew crew;

}  // namespace

void hand_out(std::int64_t count, int threads, const std::function<void(std::int64_t)>& body) {
  if (threads > 1 && count > 1 && !in_loop) {
    Loop loop{.count = count, .body = body};
    if (crew.run(loop, threads)) {
      if (loop.error != nullptr) std::rethrow_exception(loop.error);
      return;
    }
  }
  for (std::int64_t i = 0; i < count; ++i) body(i);
}

}  // namespace lancet::parallel
