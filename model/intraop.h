#pragma once
// Loops inside one forward pass, on the one pool of the process (core/parallel). LibTorch's own
// pool takes no part in a native pass: its regions end when the last thread has come, which on a
// shared machine is a long wait; a loop here ends when the work is done.

#include <cstdint>
#include <functional>

namespace lancet {

/// body(i) for i in [0, count), handed out one by one to at::get_num_threads() threads; inline
/// where that is 1 (in for_each_chunk) or `count` is 1. The first exception is rethrown.
void intraop_for(std::int64_t count, const std::function<void(std::int64_t)>& body);

/// body(begin, end) over chunks of `grain` elements.
void intraop_chunks(std::int64_t count, std::int64_t grain,
                    const std::function<void(std::int64_t, std::int64_t)>& body);

}  // namespace lancet
