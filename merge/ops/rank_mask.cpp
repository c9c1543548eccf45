#include "merge/ops/rank_mask.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>
#include <vector>

#include "core/dispatch.h"
#include "merge/ops/keys.h"

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
  LANCET_BODY static void run(std::uint32_t* __restrict out, const std::uint32_t* __restrict keys,
                              std::uint32_t shift, std::uint32_t origin, Size n) {
    for (Size i = 0; i < n; ++i) {
      const std::uint32_t high = keys[i] >> shift;
      out[i] = (high > origin ? high : origin) - origin;
    }
  }
};

using Starts = std::array<std::uint32_t, kMostBins + 1>;

/// begin[b] = how many of the bins are smaller than b, up to b = count.
void count_bins(Starts& begin, std::span<const std::uint32_t> bins, std::uint32_t count) {
  // Neighbours are counted apart: a count that was just stored is slow to be loaded again.
  Starts odd;
  std::fill_n(begin.begin(), count + 1, 0U);
  std::fill_n(odd.begin(), count, 0U);
  Size i = 0;
  for (; i + 1 < bins.size(); i += 2) {
    ++begin[bins[i] + 1];
    ++odd[bins[i + 1]];
  }
  if (i < bins.size()) ++begin[bins[i] + 1];
  for (std::uint32_t b = 0; b < count; ++b) begin[b + 1] += begin[b] + odd[b];
}

/// chance_limit(least + step * rank).
LANCET_BODY std::uint32_t limit_of(double least, double step, std::uint32_t rank) {
  const double chance = (least + step * static_cast<std::int32_t>(rank)) * 0x1p24;
  const double inside = chance > 0 ? (chance < 0x1p24 ? chance : 0x1p24) : 0;
  const auto whole = static_cast<std::int32_t>(inside);
  return static_cast<std::uint32_t>(whole + (whole < inside ? 1 : 0));
}

/// limits[b] = limit_of of the smallest rank of bin b; of the last one, that of all elements.
struct BinLimits {
  LANCET_BODY static void run(std::uint32_t* __restrict limits,
                              const std::uint32_t* __restrict begin, double least, double step,
                              Size n) {
    for (Size b = 0; b < n; ++b) limits[b] = limit_of(least, step, begin[b]);
  }
};

/// Ranks of single elements of a row, asked for in order: elements of smaller keys, and equal ones
/// before it. What a key has been asked for is kept.
class RowRanks {
 public:
  explicit RowRanks(std::span<const std::uint32_t> keys) : keys_(keys) {}

  std::uint32_t rank(Size i) {
    const std::uint32_t key = keys_[i];
    Known& known = known_[(key * 0x9E3779B1U) >> (32 - kKnownBits)];
    if (!known.used || known.key != key) {
      const std::uint64_t smaller = keys_.size() - count_above(keys_, key - 1);  // key > 0
      known = {true, key, smaller, 0};
    }
    known.rank += count_equal(keys_.subspan(known.seen, i - known.seen), key);
    known.seen = i;
    return static_cast<std::uint32_t>(known.rank);
  }

 private:
  static constexpr unsigned kKnownBits = 6;
  struct Known {
    bool used = false;
    std::uint32_t key = 0;
    std::uint64_t rank = 0;  ///< of the first element of the key at or behind `seen`
    Size seen = 0;
  };
  std::span<const std::uint32_t> keys_;
  std::array<Known, 1U << kKnownBits> known_{};
};

}  // namespace

void keep_by_rank(Out x, std::span<const std::uint32_t> keys, std::span<const std::uint32_t> words,
                  const RankChance& chance, const RankScratch& scratch) {
  const Size n = x.size();
  // Most words are below the chance of every rank, or not below that of any.
  const std::uint32_t least = limit_of(chance.least, chance.step, 0);
  const std::uint32_t most = limit_of(chance.least, chance.step, static_cast<std::uint32_t>(n));
  keep_random(x, words, most);
  const auto open = scratch.open.first(find_words(words, keys, least, most, scratch.open.data()));
  if (open.empty()) return;
  const Bins shape = bins_of(keys);
  const auto bins = scratch.bins.first(n);
  dispatch<BinOf>(bins.data(), keys.data(), shape.shift, shape.origin, n);
  Starts begin, limits;  // the first shape.count + 1 are used
  count_bins(begin, bins, shape.count);
  dispatch<BinLimits>(limits.data(), static_cast<const std::uint32_t*>(begin.data()), chance.least,
                      chance.step, Size{shape.count} + 1);
  // Of the others, most are below the chance of every rank in their bin, or not below that of any.
  // Chance has no pattern: both are listed, since a branch would be taken wrong every other time.
  Size unsure = 0, out = 0;
  for (const std::uint32_t i : open) {
    const std::uint32_t word = words[i] >> 8, bin = bins[i];
    const bool above = word >= limits[bin + 1];
    scratch.dropped[out] = i;
    out += above ? 1U : 0U;
    open[unsure] = i;
    unsure += (word >= limits[bin] ? 1U : 0U) - (above ? 1U : 0U);
  }
  for (const std::uint32_t i : scratch.dropped.first(out)) x[i] = 0;
  const auto settle = [&](Size i, std::uint32_t rank) {
    if (words[i] >> 8 >= limit_of(chance.least, chance.step, rank)) x[i] = 0;
  };
  if (unsure > n / 16 && n > kNarrow) {  // one by one would take longer than sorting
    const auto ranks = bins;
    rank_row(keys, ranks);
    for (const std::uint32_t i : open.first(unsure)) settle(i, ranks[i]);
    return;
  }
  RowRanks ranks(keys);
  for (const std::uint32_t i : open.first(unsure)) settle(i, ranks.rank(i));
}

void keep_by_rank_unbiased(Out x, std::span<const std::uint32_t> keys,
                           std::span<const std::uint32_t> words, const RankChance& chance) {
  std::vector<std::uint32_t> ranks(x.size());
  rank_row(keys, ranks);
  for (Size j = 0; j < x.size(); ++j) {
    const double keep = chance.least + chance.step * ranks[j];
    x[j] = words[j] >> 8 < chance_limit(keep) ? x[j] / keep : 0;
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
