#include "merge/ops/rank_mask.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>
#include <vector>

#include "core/dispatch.h"

#define LANCET_BODY [[gnu::always_inline]] static inline

namespace lancet::ops {
namespace {

using Size = std::size_t;
constexpr std::uint32_t kOctaves = 16;   ///< below the largest key; what is smaller shares a bin
constexpr std::uint32_t kMantissa = 23;  ///< bits of a key below its octave
constexpr std::uint32_t kMostBins = 2048;
constexpr Size kNarrow = 64;  ///< rows up to this width are one bin

/// key -> max(key >> shift, origin) - origin: the upper kOctaves octaves, evenly.
struct Bins {
  std::uint32_t count = 1, shift = 31, origin = 0;
};

Bins bins_of(std::span<const std::uint32_t> keys) {
  Bins bins;
  if (keys.size() <= kNarrow) return bins;
  bins.count = std::clamp<std::uint32_t>(
      static_cast<std::uint32_t>(std::bit_floor(keys.size() / 4)), kOctaves, kMostBins);
  bins.shift = kMantissa - static_cast<std::uint32_t>(std::countr_zero(bins.count / kOctaves));
  const std::uint32_t top = largest_key(keys) >> bins.shift;
  bins.origin = top >= bins.count ? top - (bins.count - 1) : 0;
  return bins;
}

struct BinOf {
  LANCET_BODY void run(std::uint32_t* __restrict out, const std::uint32_t* __restrict keys,
                       std::uint32_t shift, std::uint32_t origin, Size n) {
    for (Size i = 0; i < n; ++i) {
      const std::uint32_t high = keys[i] >> shift;
      out[i] = (high > origin ? high : origin) - origin;
    }
  }
};

/// chance_limit(least + step * rank).
LANCET_BODY std::uint32_t limit_of(double least, double step, std::uint32_t rank) {
  const double chance = (least + step * static_cast<std::int32_t>(rank)) * 0x1p24;
  const double inside = chance > 0 ? (chance < 0x1p24 ? chance : 0x1p24) : 0;
  const auto whole = static_cast<std::int32_t>(inside);
  return static_cast<std::uint32_t>(whole + (whole < inside ? 1 : 0));
}

/// low[b]: elements of the bin whose word is below it are kept whatever their rank in the bin;
/// from high[b] on they are dropped. begin[b]: the bin's smallest rank.
struct BinLimits {
  LANCET_BODY void run(std::uint32_t* __restrict low, std::uint32_t* __restrict high,
                       const std::uint32_t* __restrict begin, double least, double step, Size n) {
    for (Size b = 0; b < n; ++b) {
      low[b] = limit_of(least, step, begin[b]);
      high[b] = limit_of(least, step, begin[b + 1] - 1);  // means nothing in an empty bin
    }
  }
};

}  // namespace

void keep_by_rank(Out x, std::span<const std::uint32_t> keys, std::span<const std::uint32_t> words,
                  const RankChance& chance, const RankScratch& scratch) {
  const Size n = x.size();
  const Bins shape = bins_of(keys);
  const auto bin_of = scratch.sorted.subspan(n, n);
  dispatch<BinOf>(bin_of.data(), keys.data(), shape.shift, shape.origin, n);
  std::array<std::uint32_t, kMostBins + 1> begin;  // the first shape.count + 1 are used
  std::fill_n(begin.begin(), shape.count + 1, 0U);
  for (const std::uint32_t bin : bin_of) ++begin[bin + 1];
  for (std::uint32_t b = 0; b < shape.count; ++b) begin[b + 1] += begin[b];
  std::array<std::uint32_t, kMostBins> low, high, next;
  std::copy_n(begin.begin(), shape.count, next.begin());
  dispatch<BinLimits>(low.data(), high.data(), static_cast<const std::uint32_t*>(begin.data()),
                      chance.least, chance.step, Size{shape.count});
  Size unsure = 0;
  for (Size i = 0; i < n; ++i) {
    const std::uint32_t bin = bin_of[i], word = words[i] >> 8, place = next[bin]++;
    scratch.sorted[place] = keys[i];
    scratch.found[2 * unsure] = static_cast<std::uint32_t>(i);
    scratch.found[2 * unsure + 1] = place;
    unsure += Size{word >= low[bin]} & Size{word < high[bin]} & Size{keys[i] != 0};
    // Without a branch, which would be guessed wrong half of the time.
    const std::uint64_t stays = 0 - std::uint64_t{word < high[bin]};
    x[i] = std::bit_cast<double>(std::bit_cast<std::uint64_t>(x[i]) & stays);
  }
  const auto sorted = std::span<const std::uint32_t>(scratch.sorted).first(n);
  for (Size u = 0; u < unsure; ++u) {
    const std::uint32_t i = scratch.found[2 * u], place = scratch.found[2 * u + 1];
    const std::uint32_t first = begin[bin_of[i]], last = begin[bin_of[i] + 1];
    const std::uint64_t not_smaller = count_above(sorted.subspan(first, last - first), keys[i] - 1);
    const std::uint64_t rank =
        last - not_smaller + count_equal(sorted.subspan(first, place - first), keys[i]);
    if (words[i] >> 8 >= limit_of(chance.least, chance.step, static_cast<std::uint32_t>(rank)))
      x[i] = 0;
  }
}

void rank_row(std::span<const std::uint32_t> keys, std::span<std::uint32_t> ranks) {
  constexpr std::uint32_t kDigit = 11, kBins = 1U << kDigit, kDigits = 3;
  std::array<std::array<std::uint32_t, kBins>, kDigits> starts{};
  for (const std::uint32_t key : keys) {
    for (std::uint32_t d = 0; d < kDigits; ++d) ++starts[d][(key >> (kDigit * d)) & (kBins - 1)];
  }
  std::vector<std::uint32_t> order(keys.size()), next(keys.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  for (std::uint32_t d = 0; d < kDigits; ++d) {
    std::uint32_t sum = 0;
    for (std::uint32_t& start : starts[d]) sum += std::exchange(start, sum);
    for (const std::uint32_t i : order)
      next[starts[d][(keys[i] >> (kDigit * d)) & (kBins - 1)]++] = i;
    order.swap(next);
  }
  for (std::uint32_t rank = 0; rank < order.size(); ++rank) ranks[order[rank]] = rank;
}

}  // namespace lancet::ops
