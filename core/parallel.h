#pragma once
// The one owner of threads (oneTBB). LibTorch's own pool is set from threads() when the engine is
// opened.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace lancet::parallel {

/// Sets the number of threads for the whole process; 0 = all processors of the affinity mask. Call
/// once, early.
void set_threads(int count);
[[nodiscard]] int threads() noexcept;

/// body(i) for i in [0, count), in any order, on threads() threads. The first exception is
/// rethrown.
void for_each(std::size_t count, const std::function<void(std::size_t)>& body);

/// body(begin, end) over consecutive chunks of `grain` elements: chunk borders do not depend on
/// threads.
void for_chunks(std::size_t count, std::size_t grain,
                const std::function<void(std::size_t begin, std::size_t end)>& body);

/// Sum of part(begin, end) over chunks of fixed `grain`, added in chunk order: the same bits for
/// any thread count.
[[nodiscard]] double sum_chunks(
    std::size_t count, std::size_t grain,
    const std::function<double(std::size_t begin, std::size_t end)>& part);

/// What a pipeline does with item i while it owns the buffers of slot [0, slots).
struct Stages {
  std::function<void(std::size_t i, std::size_t slot)> begin;  ///< one at a time, in order
  std::function<void(std::size_t i, std::size_t slot)>
      work;  ///< any number at a time, in any order
  std::function<void(std::size_t i, std::size_t slot)> finish;  ///< one at a time, in order
  /// For an outermost pipeline: a stage that waits for a Beside works on what that has begun, and
  /// on other items. No stage may wait with a lock held.
  bool helps = false;
};
/// Runs items [0, count) through the stages, at most `slots` of them at a time. The first exception
/// is rethrown.
void pipeline(std::size_t count, std::size_t slots, const Stages& stages);

/// A job that the pool works on beside what its owner does. It may use for_each and pipeline.
class Beside {
 public:
  explicit Beside(std::function<void()> job);
  ~Beside();  ///< waits; what the job has thrown is lost
  Beside(const Beside&) = delete;
  Beside& operator=(const Beside&) = delete;

  /// Until the job is done, working on other tasks of the pool meanwhile; rethrows what it threw.
  void wait();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// One thread that runs jobs in the order given, for writes that the others need not wait for.
class Background {
 public:
  /// push() waits while `capacity` jobs are pending.
  explicit Background(std::size_t capacity);
  ~Background();
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  /// After a job has thrown, the rest are dropped and push() and wait() rethrow.
  void push(std::function<void()> job);
  void wait();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lancet::parallel
