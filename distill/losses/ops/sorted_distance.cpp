#include "distill/losses/ops/sorted_distance.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

namespace lancet::losses {
namespace {

constexpr unsigned kDigitBits = 11;
constexpr std::size_t kDigits = std::size_t{1} << kDigitBits;

struct Keyed {
  std::uint32_t bits;  ///< of a float >= 0: in the order of the floats
  std::uint32_t index;
};

/// By radix, largest first, equal ones in the order of their places.
void sort_descending(std::vector<Keyed>& items, std::vector<Keyed>& spare) {
  spare.resize(items.size());
  for (unsigned shift = 0; shift < 32; shift += kDigitBits) {
    const auto digit = [shift](const Keyed& item) {
      return kDigits - 1 - ((item.bits >> shift) & (kDigits - 1));
    };
    std::array<std::size_t, kDigits> to{};
    for (const Keyed& item : items) ++to[digit(item)];
    std::size_t sum = 0;
    for (std::size_t& each : to) sum += std::exchange(each, sum);
    for (const Keyed& item : items) spare[to[digit(item)]++] = item;
    items.swap(spare);
  }
}

void load(std::span<const float> values, std::vector<Keyed>& items) {
  items.resize(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    items[i] = {std::bit_cast<std::uint32_t>(std::max(values[i], 0.0F)),
                static_cast<std::uint32_t>(i)};
  }
}

}  // namespace

double sorted_distance(std::span<float> p, std::span<const float> q, std::span<float> gradient) {
  thread_local std::vector<Keyed> items, spare;
  load(p, items);
  sort_descending(items, spare);
  for (std::size_t i = 0; i < p.size(); ++i) p[i] = std::bit_cast<float>(items[i].bits);
  load(q, items);
  sort_descending(items, spare);
  double total = 0, mean_slope = 0;
  for (std::size_t i = 0; i < q.size(); ++i) {
    const double mine = static_cast<double>(std::bit_cast<float>(items[i].bits));
    const double gap = mine - (i < p.size() ? static_cast<double>(p[i]) : 0.0);
    total += std::fabs(gap);
    const double slope = gap > 0 ? 1 : gap < 0 ? -1 : 0;
    mean_slope += slope * mine;
    if (!gradient.empty()) gradient[items[i].index] = static_cast<float>(slope);
  }
  for (std::size_t i = q.size(); i < p.size(); ++i) total += static_cast<double>(p[i]);
  for (std::size_t j = 0; j < gradient.size(); ++j)
    gradient[j] = q[j] * (gradient[j] - static_cast<float>(mean_slope));
  return total;
}

}  // namespace lancet::losses
