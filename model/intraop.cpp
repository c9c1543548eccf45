#include "model/intraop.h"

#include <algorithm>
#include <atomic>

#include <ATen/Parallel.h>

#include "core/parallel.h"

namespace lancet {

void intraop_for(std::int64_t count, const std::function<void(std::int64_t)>& body) {
  const std::int64_t threads = std::min<std::int64_t>(count, at::get_num_threads());
  if (threads <= 1) {
    for (std::int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  std::atomic<std::int64_t> next{0};
  parallel::for_each(static_cast<std::size_t>(threads), [&](std::size_t) {
    for (std::int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) body(i);
  });
}

void intraop_chunks(std::int64_t count, std::int64_t grain,
                    const std::function<void(std::int64_t, std::int64_t)>& body) {
  grain = std::max<std::int64_t>(grain, 1);
  intraop_for((count + grain - 1) / grain, [&](std::int64_t chunk) {
    body(chunk * grain, std::min(count, (chunk + 1) * grain));
  });
}

}  // namespace lancet
