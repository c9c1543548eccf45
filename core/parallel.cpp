#include "core/parallel.h"

#include "core/crew.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/parallel_pipeline.h>
#include <oneapi/tbb/partitioner.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>
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

void spawn(std::function<void()> job) { pool()->arena.enqueue(std::move(job)); }

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

void pipeline(std::size_t count, std::size_t slots, const Stages& stages) {
  slots = std::max<std::size_t>(slots, 1);
  if (threads() == 1) {
    for (std::size_t i = 0; i < count; ++i) {
      stages.begin(i, 0);
      stages.work(i, 0);
      stages.finish(i, 0);
    }
    return;
  }
  // Items enter and leave in order: item i may use slot i % slots because item i - slots has left.
  std::size_t next = 0;
  const auto source = [&](tbb::flow_control& control) -> std::size_t {
    if (next == count) {
      control.stop();
      return 0;
    }
    stages.begin(next, next % slots);
    return next++;
  };
  const auto body = [&](std::size_t i) {
    stages.work(i, i % slots);
    return i;
  };
  const auto sink = [&](std::size_t i) { stages.finish(i, i % slots); };
  using Mode = tbb::filter_mode;
  const std::shared_ptr<Pool> in_use = pool();
  const auto run = [&] {
    tbb::parallel_pipeline(slots,
                           tbb::make_filter<void, std::size_t>(Mode::serial_in_order, source) &
                               tbb::make_filter<std::size_t, std::size_t>(Mode::parallel, body) &
                               tbb::make_filter<std::size_t, void>(Mode::serial_in_order, sink));
  };
  in_use->arena.execute([&] { stages.helps ? run() : tbb::this_task_arena::isolate(run); });
}

struct Beside::State {
  std::function<void()> job;  ///< with one thread: run by wait()
  std::shared_ptr<Pool> in_use;
  tbb::task_group group;
  bool done = false;
};

Beside::Beside(std::function<void()> job) : state_(std::make_unique<State>()) {
  state_->job = std::move(job);
  if (threads() == 1) return;
  state_->in_use = pool();
  state_->in_use->arena.execute([&] { state_->group.run(state_->job); });
}

Beside::~Beside() {
  try {
    if (state_->in_use != nullptr) wait();
  } catch (...) {  // the owner did not ask
  }
}

void Beside::wait() {
  if (std::exchange(state_->done, true)) return;
  if (state_->in_use == nullptr) {
    state_->job();
    return;
  }
  state_->in_use->arena.execute([&] { state_->group.wait(); });
}

struct Background::State {
  explicit State(std::size_t most) : capacity(std::max<std::size_t>(most, 1)) {}

  std::size_t capacity;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::function<void()>> jobs;  ///< the first one is running
  std::exception_ptr error;
  bool stop = false;
  std::thread thread;

  void loop() {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [&] { return stop || !jobs.empty(); });
      if (jobs.empty()) return;
      const bool skip = error != nullptr;
      lock.unlock();
      std::exception_ptr thrown;
      try {
        if (!skip) jobs.front()();
      } catch (...) {
        thrown = std::current_exception();
      }
      lock.lock();
      if (thrown) error = thrown;
      jobs.pop_front();
      changed.notify_all();
    }
  }
};

Background::Background(std::size_t capacity) : state_(std::make_unique<State>(capacity)) {
  state_->thread = std::thread([state = state_.get()] { state->loop(); });
}

Background::~Background() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stop = true;
    if (state_->jobs.size() > 1) state_->jobs.resize(1);  // abandoned work
  }
  state_->changed.notify_all();
  state_->thread.join();
}

void Background::push(std::function<void()> job) {
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [&] { return state_->jobs.size() < state_->capacity; });
  if (state_->error) std::rethrow_exception(state_->error);
  state_->jobs.push_back(std::move(job));
  state_->changed.notify_all();
}

void Background::wait() {
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [&] { return state_->jobs.empty(); });
  if (state_->error) std::rethrow_exception(state_->error);
}

}  // namespace lancet::parallel
