#include "model/alibi.h"

#include <bit>
#include <cmath>
#include <utility>

namespace lancet {

std::vector<float> alibi_slopes(std::int64_t heads) {
  const auto below = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(heads)));
  std::vector<float> out;
  // The base is rounded to float32 before it is raised, as the published models had it.
  const auto base = [](std::int64_t n) {
    return static_cast<float>(std::pow(2.0, -8.0 / static_cast<double>(n)));
  };
  for (std::int64_t i = 1; i <= below; ++i)
    out.push_back(std::pow(base(below), static_cast<float>(i)));
  for (std::int64_t i = 1; std::cmp_less(out.size(), heads); i += 2)
    out.push_back(std::pow(base(2 * below), static_cast<float>(i)));
  return out;
}

}  // namespace lancet
