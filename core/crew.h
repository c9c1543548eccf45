#pragma once
// Loops that follow one another within a fraction of a millisecond, as those of a pass do. A thread
// that has gone to sleep between two of them comes late to the second, on a virtual machine by more
// than the loop takes; so the pool's threads stay awake for a moment behind each loop. The calling
// thread waits for indices that others are at, never for threads that have yet to come.

#include <cstdint>
#include <functional>

namespace lancet::parallel {

/// body(i) for i in [0, count), handed out one by one to at most `threads` threads, the calling one
/// among them. The first exception is rethrown. Inside of such a loop, and while another thread
/// runs one, the calling thread does all by itself.
void hand_out(std::int64_t count, int threads, const std::function<void(std::int64_t)>& body);

/// Runs `job`, which must not throw, on a thread of the pool that is not the calling one.
void spawn(std::function<void()> job);

}  // namespace lancet::parallel
