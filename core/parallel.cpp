#include "core/parallel.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <thread>

#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/partitioner.h>
#include <oneapi/tbb/task_arena.h>
#include <sched.h>

namespace lancet::parallel {
namespace {

int available_processors() noexcept {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) return std::max(1, CPU_COUNT(&mask));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

std::atomic<int> g_threads{0};

struct Pool {
  tbb::global_control control;
  tbb::task_arena arena;
  explicit Pool(int count)
      : control(tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(count)),
        arena(count) {}
};

/// The pool in use; made anew when set_threads has changed the number. Callers keep theirs alive.
std::shared_ptr<Pool> pool() {
  static std::mutex mutex;
  static std::shared_ptr<Pool> current;
  static int size = 0;
  const std::lock_guard lock(mutex);
  if (const int wanted = threads(); current == nullptr || size != wanted) {
    current = std::make_shared<Pool>(wanted);
    size = wanted;
  }
  return current;
}

}  // namespace

void set_threads(int count) { g_threads.store(std::max(0, count), std::memory_order_relaxed); }

int threads() noexcept {
  const int wanted = g_threads.load(std::memory_order_relaxed);
  if (wanted > 0) return wanted;
  static const int processors = available_processors();
  return processors;
}

void for_each(std::size_t count, const std::function<void(std::size_t)>& body) {
  if (count == 0) return;
  if (count == 1 || threads() == 1) {
    for (std::size_t i = 0; i < count; ++i) body(i);
    return;
  }
  // Isolated: while a nested loop waits, its thread takes no task of the outer loop.
  const std::shared_ptr<Pool> in_use = pool();
  in_use->arena.execute([&] {
    tbb::this_task_arena::isolate([&] {
      tbb::parallel_for(
          tbb::blocked_range<std::size_t>(0, count, 1),
          [&](const tbb::blocked_range<std::size_t>& range) {
            for (std::size_t i = range.begin(); i != range.end(); ++i) body(i);
          },
          tbb::simple_partitioner());
    });
  });
}

void for_chunks(std::size_t count, std::size_t grain,
                const std::function<void(std::size_t begin, std::size_t end)>& body) {
  grain = std::max<std::size_t>(grain, 1);
  const std::size_t chunks = count / grain + (count % grain != 0 ? 1 : 0);
  for_each(chunks, [&](std::size_t chunk) {
    const std::size_t begin = chunk * grain;
    body(begin, begin + std::min(grain, count - begin));
  });
}

double sum_chunks(std::size_t count, std::size_t grain,
                  const std::function<double(std::size_t begin, std::size_t end)>& part) {
  grain = std::max<std::size_t>(grain, 1);
  std::vector<double> parts(count / grain + (count % grain != 0 ? 1 : 0));
  for_chunks(count, grain,
             [&](std::size_t begin, std::size_t end) { parts[begin / grain] = part(begin, end); });
  double sum = 0;
  for (const double value : parts) sum += value;
  return sum;
}

}  // namespace lancet::parallel
