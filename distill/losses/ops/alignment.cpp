#include "distill/losses/ops/alignment.h"

namespace lancet::losses {

std::vector<std::int64_t> aligned_rows(std::span<const std::uint64_t> ours,
                                       std::span<const std::uint64_t> theirs) {
  std::vector<std::int64_t> out(ours.size(), -1);
  std::size_t j = 0;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    if (i > 0 && ours[i] == ours[i - 1]) continue;
    while (j < theirs.size() && theirs[j] < ours[i]) ++j;
    if (j < theirs.size() && theirs[j] == ours[i]) out[i] = static_cast<std::int64_t>(j);
  }
  return out;
}

}  // namespace lancet::losses
