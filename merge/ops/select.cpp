#include "merge/ops/select.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

namespace lancet::ops {
namespace {

constexpr std::uint32_t kLowBits =
    15;  ///< keys have 31 bits: 16 in the first pass, 15 in the second
constexpr std::uint32_t kHighBins = 1U << 16;
constexpr std::uint32_t kLowBins = 1U << kLowBits;
constexpr std::uint32_t kNone = UINT32_MAX;  ///< above every key

using Counts = std::vector<std::uint64_t>;

void add_counts(Counts& into, const Counts& from) {
  for (std::size_t i = 0; i < into.size(); ++i) into[i] += from[i];
}

/// The bin that holds rank `rank` when bins are walked from the top; `rank` becomes the rank inside
/// it.
std::uint32_t bin_of_rank(const Counts& counts, std::size_t offset, std::uint32_t bins,
                          std::uint64_t& rank) {
  for (std::uint32_t bin = bins; bin-- > 0;) {
    const std::uint64_t here = counts[offset + bin];
    if (rank < here) return bin;
    rank -= here;
  }
  return 0;
}

}  // namespace

/// The passes of BandFilter::find. A cut at `count` keeps ranks [0, count).
class BandFinder {
 public:
  BandFinder(const MergeTask& task, const Series& series, const std::vector<RankBand>& bands)
      : task_(task), series_(series), count_(bands.size()) {
    const std::uint64_t n = task.elements();
    filters_.resize(bands.size());
    for (std::size_t i = 0; i < bands.size(); ++i) {
      add(i, filters_[i].inner_, std::min(n, bands[i].begin));
      add(i, filters_[i].outer_, std::min(n, bands[i].end));
    }
  }

  BandFinder(const MergeTask& task, Series series)
      : task_(task), series_(std::move(series)), count_(1) {}

  /// Of the only series.
  std::vector<float> magnitudes(const std::vector<std::uint64_t>& ranks) {
    std::vector<BandFilter::Cut> cuts(ranks.size());
    for (std::size_t i = 0; i < ranks.size(); ++i)
      searches_.push_back({0, &cuts[i], task_.elements() - 1 - ranks[i]});
    find_high_bins();
    find_keys();
    std::vector<float> out;
    for (const BandFilter::Cut& cut : cuts) out.push_back(std::bit_cast<float>(cut.key));
    return out;
  }

  std::vector<BandFilter> run() {
    if (!searches_.empty()) {
      find_high_bins();
      find_keys();
      find_ties();
    }
    return std::move(filters_);
  }

 private:
  struct Search {
    std::size_t series;
    BandFilter::Cut* cut;
    std::uint64_t rank;  ///< of the last element kept; then inside its bin; then among equal keys
    std::uint32_t high = 0;
    std::uint64_t equal = 0;
  };
  const MergeTask& task_;
  Series series_;
  std::size_t count_;
  std::vector<BandFilter> filters_;
  std::vector<Search> searches_;

  void add(std::size_t s, BandFilter::Cut& cut, std::uint64_t count) {
    cut.all = count == task_.elements();
    cut.key = kNone;
    if (count > 0 && !cut.all) searches_.push_back({s, &cut, count - 1});
  }

  std::vector<bool> searched_series() const {
    std::vector<bool> used(count_);
    for (const Search& search : searches_) used[search.series] = true;
    return used;
  }

  void find_high_bins() {
    const std::vector<bool> used = searched_series();
    const auto states = task_.scan<Counts>([&] { return Counts(count_ * kHighBins); },
                                           [&](const Block& block, Counts& counts) {
                                             for (std::size_t i = 0; i < used.size(); ++i) {
                                               if (!used[i]) continue;
                                               magnitude_keys(block.keys, series_(block, i));
                                               std::uint64_t* bins = counts.data() + i * kHighBins;
                                               for (const std::uint32_t key : block.keys)
                                                 ++bins[key >> kLowBits];
                                             }
                                           });
    Counts total(count_ * kHighBins);
    for (const Counts& counts : states) add_counts(total, counts);
    for (Search& search : searches_) {
      search.high = bin_of_rank(total, search.series * kHighBins, kHighBins, search.rank);
    }
  }

  void find_keys() {
    const auto states =
        task_.scan<Counts>([&] { return Counts(searches_.size() * kLowBins); },
                           [&](const Block& block, Counts& counts) {
                             std::size_t keyed = count_;
                             for (std::size_t s = 0; s < searches_.size(); ++s) {
                               const Search& search = searches_[s];
                               if (keyed != search.series)
                                 magnitude_keys(block.keys, series_(block, keyed = search.series));
                               const std::uint32_t first = search.high << kLowBits;
                               std::uint64_t* bins = counts.data() + s * kLowBins;
                               for (const std::uint32_t key : block.keys) {
                                 if (key - first < kLowBins) ++bins[key - first];
                               }
                             }
                           });
    Counts total(searches_.size() * kLowBins);
    for (const Counts& counts : states) add_counts(total, counts);
    for (std::size_t s = 0; s < searches_.size(); ++s) {
      Search& search = searches_[s];
      const std::uint32_t low = bin_of_rank(total, s * kLowBins, kLowBins, search.rank);
      search.cut->key = (search.high << kLowBits) + low;
      search.cut->ties = search.rank + 1;
      search.equal = total[s * kLowBins + low];
    }
  }

  /// Where a cut goes through equal keys, counts them up to each block.
  void find_ties() {
    std::vector<Search*> split;
    for (Search& search : searches_) {
      if (search.equal == search.cut->ties) {
        search.cut->ties = UINT64_MAX;  // all of them
      } else {
        search.cut->before.resize(task_.blocks());
        split.push_back(&search);
      }
    }
    if (split.empty()) return;
    task_.scan<int>([] { return 0; },
                    [&](const Block& block, int&) {
                      for (const Search* search : split) {
                        magnitude_keys(block.keys, series_(block, search->series));
                        search->cut->before[block.number] =
                            count_equal(block.keys, search->cut->key);
                      }
                    });
    for (const Search* search : split) {
      std::uint64_t sum = 0;
      for (std::uint64_t& count : search->cut->before) sum += std::exchange(count, sum);
    }
  }
};

Series models_series() {
  return [](const Block& block, std::size_t s) -> In { return block.models[s]; };
}

std::vector<BandFilter> BandFilter::find(const MergeTask& task, const Series& series,
                                         const std::vector<RankBand>& bands) {
  return BandFinder(task, series, bands).run();
}

BandFilter::Side BandFilter::side_of(const Cut& cut, const Block& block) {
  Side side{cut.all ? 0 : cut.key, 0, false};
  if (cut.all || cut.key == kNone) return side;
  const std::uint32_t below =
      cut.key == 0 ? 0 : cut.key - 1;  // zeros stay zero whichever side they are on
  if (cut.before.empty()) {
    side.threshold = below;
    return side;
  }
  const std::uint64_t before = cut.before[block.number];
  const std::uint64_t here = count_equal(block.keys, cut.key);
  side.ties = cut.ties > before ? std::min(here, cut.ties - before) : 0;
  side.split = side.ties > 0 && side.ties < here;
  if (side.ties > 0 && !side.split) side.threshold = below;
  return side;
}

void BandFilter::apply(const Block& block, In ranked, Out x) const {
  const auto keys = block.keys;
  magnitude_keys(keys, ranked);
  Side outer = side_of(outer_, block);
  Side inner = side_of(inner_, block);
  if (!outer.split && !inner.split) {
    keep_between(x, keys, outer.threshold, inner.threshold);
    return;
  }
  const auto is_in = [](Side& side, std::uint32_t key, std::uint32_t tie) {
    if (key > side.threshold) return true;
    if (!side.split || key != tie || side.ties == 0) return false;
    --side.ties;
    return true;
  };
  for (std::size_t i = 0; i < x.size(); ++i) {
    const bool in_outer = is_in(outer, keys[i], outer_.key);
    const bool in_inner = is_in(inner, keys[i], inner_.key);
    if (!in_outer || in_inner) x[i] = 0;
  }
}

std::vector<float> magnitudes_at(const MergeTask& task,
                                 const std::function<In(const Block&)>& values,
                                 const std::vector<std::uint64_t>& ranks) {
  return BandFinder(task, [&](const Block& block, std::size_t) { return values(block); })
      .magnitudes(ranks);
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
