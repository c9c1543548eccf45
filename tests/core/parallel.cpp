#include "core/parallel.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <numeric>
#include <thread>
#include <vector>

#include "tests/catch.h"
#include "tests/core/scratch.h"

using namespace lancet;

namespace {

/// Runs the rest of the scope with `count` threads.
struct Threads {
  explicit Threads(int count) { parallel::set_threads(count); }
  ~Threads() { parallel::set_threads(0); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
};

}  // namespace

TEST_CASE("parallel: every index runs exactly once for any thread count") {
  for (const int count : {1, 2, 5}) {
    const Threads threads(count);
    CHECK(parallel::threads() == count);
    for (const std::size_t n : {0U, 1U, 2U, 1000U}) {
      std::vector<std::atomic<int>> hits(n);
      parallel::for_each(n, [&](std::size_t i) { ++hits[i]; });
      CHECK(std::all_of(hits.begin(), hits.end(), [](const auto& hit) { return hit == 1; }));
    }
  }
}

TEST_CASE("parallel: zero threads means all processors of the affinity mask") {
  const Threads threads(0);
  CHECK(parallel::threads() >= 1);
  CHECK(parallel::threads() <= static_cast<int>(std::max(1U, std::thread::hardware_concurrency())));
}

TEST_CASE("parallel: no more threads than asked for work at the same time") {
  const Threads threads(3);
  std::atomic<int> now{0};
  std::atomic<int> most{0};
  parallel::for_each(64, [&](std::size_t) {
    const int running = ++now;
    int seen = most;
    while (running > seen && !most.compare_exchange_weak(seen, running)) {
    }
    // On a busy machine the others may take long to come.
    const auto last = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    do {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    } while (most < 2 && std::chrono::steady_clock::now() < last);
    --now;
  });
  CHECK(most <= 3);
  CHECK(most >= 2);
}

TEST_CASE("parallel: chunks cover the range in order of their borders with a short last one") {
  for (const int count : {1, 4}) {
    const Threads threads(count);
    std::mutex mutex;
    std::vector<std::pair<std::size_t, std::size_t>> chunks;
    parallel::for_chunks(10, 4, [&](std::size_t begin, std::size_t end) {
      const std::lock_guard lock(mutex);
      chunks.emplace_back(begin, end);
    });
    std::sort(chunks.begin(), chunks.end());
    CHECK(chunks == decltype(chunks){{0, 4}, {4, 8}, {8, 10}});
  }
}

TEST_CASE("parallel: a sum has the same bits for any thread count") {
  std::vector<double> values(100'003);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = 1.0 / static_cast<double>(i + 1);
  const auto sum = [&](int count) {
    const Threads threads(count);
    return parallel::sum_chunks(values.size(), 777, [&](std::size_t begin, std::size_t end) {
      double part = 0;
      for (std::size_t i = begin; i < end; ++i) part += values[i];
      return part;
    });
  };
  const double one = sum(1);
  CHECK(one == sum(2));
  CHECK(one == sum(7));
  CHECK(one == Approx(12.0901681).margin(1e-6));
  CHECK(parallel::sum_chunks(0, 8, [](std::size_t, std::size_t) { return 1.0; }) == 0);
}

TEST_CASE("parallel: an exception of a body arrives with its own type") {
  for (const int count : {1, 4}) {
    const Threads threads(count);
    const auto error = test::error_of([] {
      parallel::for_each(100, [](std::size_t i) {
        if (i == 37) fail(ErrorKind::kNumeric, "test", "NaN");
      });
    });
    REQUIRE(error);
    CHECK(error->kind() == ErrorKind::kNumeric);
  }
}

TEST_CASE("parallel: loops inside loops finish and add up") {
  const Threads threads(4);
  std::atomic<std::size_t> sum{0};
  parallel::for_each(20, [&](std::size_t) {
    parallel::for_chunks(1000, 10, [&](std::size_t begin, std::size_t end) { sum += end - begin; });
  });
  CHECK(sum == 20'000);
}

TEST_CASE("parallel: a job beside a pipeline is done after wait, and its exception arrives there") {
  for (const int count : {1, 2, 4}) {
    const Threads threads(count);
    std::atomic<std::size_t> sum{0};
    std::size_t waited = 0;
    std::unique_ptr<parallel::Beside> ahead;
    parallel::pipeline(40, 3,
                       {.begin =
                            [&](std::size_t, std::size_t) {
                              if (ahead != nullptr) ahead->wait();
                              waited = sum;
                              ahead = std::make_unique<parallel::Beside>(
                                  [&] { parallel::for_each(100, [&](std::size_t) { ++sum; }); });
                            },
                        .work = [](std::size_t, std::size_t) {},
                        .finish = [](std::size_t, std::size_t) {}});
    CHECK(waited == 3900);
    ahead->wait();
    CHECK(sum == 4000);
    parallel::Beside bad([] { fail(ErrorKind::kNumeric, "test", "NaN"); });
    const auto error = test::error_of([&] { bad.wait(); });
    REQUIRE(error);
    CHECK(error->kind() == ErrorKind::kNumeric);
    const parallel::Beside nobody_waits([] { fail(ErrorKind::kNumeric, "test", "NaN"); });
  }
}
