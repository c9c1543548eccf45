#pragma once
// The one owner of threads (oneTBB). LibTorch's own pool is set from threads() when the engine is
// opened.

#include <cstddef>
#include <cstdint>
#include <functional>
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

}  // namespace lancet::parallel
