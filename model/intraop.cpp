#include "model/intraop.h"

#include <algorithm>

#include <ATen/Parallel.h>

#include "core/crew.h"

namespace lancet {

void intraop_for(std::int64_t count, const std::function<void(std::int64_t)>& body) {
  const std::int64_t threads = std::min<std::int64_t>(count, at::get_num_threads());
  if (threads <= 1) {
    for (std::int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  parallel::hand_out(count, static_cast<int>(threads), body);
}

void intraop_chunks(std::int64_t count, std::int64_t grain,
                    const std::function<void(std::int64_t, std::int64_t)>& body) {
  grain = std::max<std::int64_t>(grain, 1);
  intraop_for((count + grain - 1) / grain, [&](std::int64_t chunk) {
    body(chunk * grain, std::min(count, (chunk + 1) * grain));
  });
}

}  // namespace lancet
