#include "core/crew.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/parallel.h"
#include "tests/catch.h"

using namespace lancet;

namespace {

/// Runs the rest of the scope with `count` threads.
struct Threads {
  explicit Threads(int count) { parallel::set_threads(count); }
  ~Threads() { parallel::set_threads(0); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
};

bool once_each(std::int64_t count, int threads) {
  std::vector<std::atomic<int>> hits(static_cast<std::size_t>(count));
  parallel::hand_out(count, threads, [&](std::int64_t i) { ++hits[static_cast<std::size_t>(i)]; });
  return std::ranges::all_of(hits, [](const auto& hit) { return hit == 1; });
}

}  // namespace

TEST_CASE("crew: every index runs once, in loops close behind one another and far apart") {
  for (const int count : {1, 2, 4}) {
    const Threads threads(count);
    for (int loop = 0; loop < 2000; ++loop) CHECK(once_each(loop % 7, count));
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // all asleep again
    CHECK(once_each(1000, count));
  }
}

TEST_CASE("crew: the first exception comes back, and the next loop is whole") {
  const Threads threads(3);
  for (int loop = 0; loop < 50; ++loop) {
    CHECK_THROWS_AS(parallel::hand_out(100, 3,
                                       [](std::int64_t i) {
                                         if (i == 40) throw std::runtime_error("no");
                                       }),
                    std::runtime_error);
    CHECK(once_each(100, 3));
  }
}

TEST_CASE("crew: loops in loops, beside the pool's own, and of several callers") {
  const Threads threads(3);
  std::atomic<int> sum{0};
  parallel::hand_out(8, 3, [&](std::int64_t) {
    parallel::hand_out(10, 3, [&](std::int64_t) { ++sum; });
    parallel::for_each(10, [&](std::size_t) { ++sum; });
  });
  CHECK(sum == 160);
  std::vector<std::thread> callers;
  std::atomic<int> good{0};
  for (int caller = 0; caller < 4; ++caller)
    callers.emplace_back([&] {
      for (int loop = 0; loop < 200; ++loop) good += once_each(20, 3) ? 1 : 0;
    });
  for (std::thread& caller : callers) caller.join();
  CHECK(good == 800);
}

TEST_CASE("crew: no more threads than asked for work at the same time") {
  const Threads threads(3);
  std::atomic<int> now{0}, most{0};
  // On a busy machine the others may come too late for a loop: one of many has to see them.
  for (int loop = 0; loop < 1000 && most < 2; ++loop)
    parallel::hand_out(64, 3, [&](std::int64_t) {
      const int running = ++now;
      int seen = most;
      while (running > seen && !most.compare_exchange_weak(seen, running)) {
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      --now;
    });
  CHECK(most <= 3);
  CHECK(most >= 2);
}
