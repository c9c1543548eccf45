#include "merge/ops/rank_search.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <utility>

#include "core/parallel.h"
#include "merge/ops/keys.h"

namespace lancet::ops {
namespace {

using Keys = std::vector<std::uint32_t>;
using Counts = std::vector<std::uint64_t>;

constexpr std::uint64_t kSmall = 1U << 20;   ///< elements that are all collected
constexpr std::uint64_t kSample = 1U << 15;  ///< elements looked at to place the windows
constexpr double kMargin = 0.02;  ///< half a window around the median, as a share of the elements
constexpr std::uint64_t kCountAt = 1U << 14;    ///< keys that a thread adds to the common count
constexpr std::uint32_t kLargest = 0x7FFFFFFF;  ///< no key is above it
constexpr std::uint32_t kLowBits = 15;          ///< histogram passes: 16 high bits, 15 low ones
constexpr std::uint32_t kHighBins = 1U << 16;
constexpr std::uint32_t kLowBins = 1U << kLowBits;

/// body(keys, q) for the keys of the series of every query q, in one block.
template <typename Body>
void for_queries(const MergeTask& task, const Block& block, const Series& series,
                 const std::vector<RankQuery>& queries, const Body& body) {
  for (std::size_t q = 0; q < queries.size(); ++q) {
    const std::size_t s = queries[q].series;
    if (q == 0 || s != queries[q - 1].series) {
      if (series.keys) {
        series.keys(block, s, block.keys);
      } else if (block.read) {
        magnitude_keys(block.keys, block.models[s]);
      } else {
        task.model_keys(block, s, block.keys);
      }
    }
    body(std::span<const std::uint32_t>(block.keys), q);
  }
}

/// Every block of the task, with values where the series are made from them.
template <typename State>
std::vector<State> scan(const MergeTask& task, const Series& series,
                        const std::function<State()>& make,
                        const std::function<void(const Block&, State&)>& body) {
  return series.keys && series.by_values ? task.scan<State>(make, body)
                                         : task.scan_keys<State>(make, body);
}

/// The rank that a share of so many elements ends with.
void set_rank(RankQuery& query, std::uint64_t nonzero) {
  const auto count = static_cast<std::uint64_t>(query.of_nonzero * static_cast<double>(nonzero));
  query.empty = count == 0;
  query.rank = query.empty ? 0 : count - 1;
}

/// One pass that collects the keys of a window around each rank. The key that the sample has at the
/// rank is only counted: deltas of 16-bit models lie on a coarse grid, where many are equal.
class WindowSearch {
 public:
  WindowSearch(const MergeTask& task, const Series& series, std::vector<RankQuery>& queries)
      : task_(task), series_(series), queries_(queries), places_(queries.size()) {
    for (Place& place : places_) place.chunks.resize(task.chunks());
    if (task.elements() <= kSmall) return;
    place_windows();
    expected_ = static_cast<std::size_t>(2.2 * kMargin * static_cast<double>(task.max_chunk()));
  }

  /// False when a window has missed its rank or there was too much to collect. Ranks that are
  /// shares are known then in either case.
  bool run() {
    scan<Worker>(
        task_, series_, [&] { return Worker{Keys(task_.block_size())}; },
        [&](const Block& block, Worker& worker) { collect(block, worker); });
    std::uint64_t collected = 0;
    for (std::size_t q = 0; q < queries_.size(); ++q) {
      std::uint64_t nonzero = 0;
      for (const Found& found : places_[q].chunks) {
        nonzero += found.nonzero;
        collected += found.keys.size();
      }
      if (queries_[q].of_nonzero >= 0) set_rank(queries_[q], nonzero);
    }
    if (full_ || collected > limit()) return false;
    std::atomic<bool> found{true};
    parallel::for_each(queries_.size(), [&](std::size_t q) {
      if (!select(places_[q], queries_[q])) found = false;
    });
    return found;
  }

 private:
  /// What a block has in a window.
  struct BlockCount {
    std::uint32_t keys = 0, pivots = 0;
  };
  /// What one chunk has in a window: keys in the order of the elements, and counts of its blocks.
  struct Found {
    Keys keys;
    std::vector<BlockCount> blocks;
    std::uint64_t above = 0, pivots = 0;
    std::uint64_t nonzero = 0;  ///< counted where the rank is a share
  };
  /// Of one thread.
  struct Worker {
    Keys buffer;
    std::uint64_t collected = 0;  ///< not yet in the common count
  };
  struct Place {
    Window window{0, kLargest, UINT32_MAX};
    std::vector<Found> chunks;
  };
  const MergeTask& task_;
  const Series& series_;
  std::vector<RankQuery>& queries_;
  std::vector<Place> places_;
  std::atomic<std::uint64_t> collected_{0};
  std::atomic<bool> full_{false};  ///< too much to collect
  std::size_t expected_ = 0;       ///< keys that a chunk will have in a window

  std::uint64_t limit() const { return task_.scratch_memory() / sizeof(std::uint32_t); }

  void place_windows() {
    std::vector<Keys> samples(queries_.size());
    task_.sample(kSample, [&](const Block& block) {
      for_queries(task_, block, series_, queries_,
                  [&](std::span<const std::uint32_t> keys, std::size_t q) {
                    samples[q].insert(samples[q].end(), keys.begin(), keys.end());
                  });
    });
    for (std::size_t q = 0; q < queries_.size(); ++q) {
      const RankQuery& query = queries_[q];
      const double share =
          query.of_nonzero >= 0
              ? query.of_nonzero * static_cast<double>(count_above(samples[q], 0)) /
                    static_cast<double>(std::max<std::size_t>(1, samples[q].size()))
              : static_cast<double>(query.rank) / static_cast<double>(task_.elements());
      places_[q].window = window_at(samples[q], share);
    }
  }

  /// `share`: of the elements that are larger.
  static Window window_at(Keys& sample, double share) {
    const auto key_at = [&](double from_top) {
      const auto last = static_cast<double>(sample.size() - 1);
      const auto place = sample.begin() + static_cast<std::ptrdiff_t>(from_top * last);
      std::nth_element(sample.begin(), place, sample.end(), std::greater<>());
      return *place;
    };
    // The keys at both ends are left out, because they may be many as well.
    Window window{0, kLargest, key_at(share)};
    const double margin = std::max(kMargin / 3, 2 * kMargin * std::sqrt(share * (1 - share)));
    if (share - margin > 0) window.high = std::max(window.pivot, key_at(share - margin) - 1);
    if (share + margin < 1) window.low = std::min(window.pivot, key_at(share + margin) + 1);
    return window;
  }

  void collect(const Block& block, Worker& worker) {
    const bool full = full_.load(std::memory_order_relaxed);
    const bool shares =
        std::ranges::any_of(queries_, [](const RankQuery& query) { return query.of_nonzero >= 0; });
    if (full && !shares) return;
    const std::uint64_t chunk = block.begin / task_.max_chunk();
    for_queries(
        task_, block, series_, queries_, [&](std::span<const std::uint32_t> keys, std::size_t q) {
          Found& found = places_[q].chunks[chunk];
          if (queries_[q].of_nonzero >= 0) found.nonzero += count_above(keys, 0);
          if (full) return;
          const Collected here = collect_window(keys, places_[q].window, worker.buffer.data());
          found.above += here.above;
          found.pivots += here.pivots;
          found.blocks.push_back(
              {static_cast<std::uint32_t>(here.inside), static_cast<std::uint32_t>(here.pivots)});
          if (here.inside > 0 && found.keys.empty()) found.keys.reserve(expected_);
          found.keys.insert(found.keys.end(), worker.buffer.begin(),
                            worker.buffer.begin() + static_cast<std::ptrdiff_t>(here.inside));
          worker.collected += here.inside;
        });
    if (worker.collected < kCountAt) return;
    collected_ += std::exchange(worker.collected, 0);
    if (collected_ > limit()) full_ = true;
  }

  static bool select(const Place& place, RankQuery& query) {
    if (query.empty) return true;
    std::uint64_t above = 0, inside = 0;
    for (const Found& found : place.chunks) {
      above += found.above;
      inside += found.keys.size() + found.pivots;
    }
    if (query.rank < above || query.rank - above >= inside) return false;
    std::uint64_t rank = query.rank - above;
    query.key = key_at(place, rank);
    split_ties(place, rank + 1, query);
    return true;
  }

  /// The key at `rank` of the window, which becomes the rank among the keys that equal it.
  static std::uint32_t key_at(const Place& place, std::uint64_t& rank) {
    constexpr std::uint32_t kBins = 1U << 12;
    const std::uint32_t pivot = place.window.pivot;
    std::uint32_t low = place.window.low, shift = 0, bins = kBins;
    while (((place.window.high - low) >> shift) >= kBins) ++shift;
    std::uint64_t pivots = 0;
    std::vector<std::span<const std::uint32_t>> parts;
    for (const Found& found : place.chunks) {
      pivots += found.pivots;
      parts.emplace_back(found.keys);
    }
    Keys few;
    while (true) {
      Counts counts(bins);
      for (const auto keys : parts) count_keys(counts, keys, low, shift);
      if (pivot >= low && (pivot - low) >> shift < bins) counts[(pivot - low) >> shift] += pivots;
      const std::uint32_t bin = bin_of_rank(counts, rank);
      low += bin << shift;
      if (shift == 0) return low;
      // The next pass divides this bin, which most keys are not in.
      if (few.empty() && counts[bin] <= kCountAt) {
        few = keys_in({low, low + ((1U << shift) - 1), UINT32_MAX}, place);
        parts.assign(1, few);
      }
      bins = std::min(kBins, 1U << shift);
      shift = shift > 12 ? shift - 12 : 0;
    }
  }

  static Keys keys_in(const Window& window, const Place& place) {
    Keys out, buffer;
    for (const Found& found : place.chunks) {
      buffer.resize(found.keys.size());
      const auto end =
          buffer.begin() +
          static_cast<std::ptrdiff_t>(collect_window(found.keys, window, buffer.data()).inside);
      out.insert(out.end(), buffer.begin(), end);
    }
    return out;
  }

  /// Where the elements that equal the query's key stop having its rank: after `ties` of them.
  static void split_ties(const Place& place, std::uint64_t ties, RankQuery& query) {
    const bool pivot = query.key == place.window.pivot;
    std::uint64_t number = 0;
    for (const Found& found : place.chunks) {
      std::size_t from = 0;
      for (const BlockCount& block : found.blocks) {
        const std::uint64_t here =
            pivot ? block.pivots
                  : count_equal(std::span(found.keys).subspan(from, block.keys), query.key);
        if (ties <= here) {
          query.block = number;
          query.ties = ties;
          return;
        }
        ties -= here;
        from += block.keys;
        ++number;
      }
    }
  }
};

/// Two passes that count, one more where equal keys are split.
class HistogramSearch {
 public:
  HistogramSearch(const MergeTask& task, const Series& series, std::vector<RankQuery>& queries)
      : task_(task), series_(series), queries_(queries) {}

  void run() {
    std::vector<std::uint64_t> ranks;
    for (RankQuery& query : queries_) {
      ranks.push_back(query.rank);
      query.key = 0;
    }
    const Counts high = count(kHighBins, kLowBits);
    for (std::size_t q = 0; q < queries_.size(); ++q)
      queries_[q].key = bin_of_rank(std::span(high).subspan(q * kHighBins, kHighBins), ranks[q])
                        << kLowBits;
    const Counts low = count(kLowBins, 0);
    std::vector<std::uint64_t> ties;
    for (std::size_t q = 0; q < queries_.size(); ++q) {
      const auto bins = std::span(low).subspan(q * kLowBins, kLowBins);
      const std::uint32_t bin = bin_of_rank(bins, ranks[q]);
      queries_[q].key += bin;
      ties.push_back(ranks[q] + 1 == bins[bin] ? 0 : ranks[q] + 1);
    }
    if (std::ranges::any_of(ties, [](std::uint64_t t) { return t > 0; })) split_ties(ties);
  }

 private:
  const MergeTask& task_;
  const Series& series_;
  std::vector<RankQuery>& queries_;

  /// For every query, how many of its keys are in each bin of 2^shift keys from its `key` on.
  Counts count(std::size_t bins, std::uint32_t shift) const {
    const auto states = scan<Counts>(
        task_, series_, [&] { return Counts(queries_.size() * bins); },
        [&](const Block& block, Counts& counts) {
          for_queries(task_, block, series_, queries_,
                      [&](std::span<const std::uint32_t> keys, std::size_t q) {
                        count_keys(std::span(counts).subspan(q * bins, bins), keys, queries_[q].key,
                                   shift);
                      });
        });
    Counts total(queries_.size() * bins);
    for (const Counts& counts : states)
      std::ranges::transform(total, counts, total.begin(), std::plus<>());
    return total;
  }

  /// ties[q]: how many of the elements that equal query q's key have its rank or one before; 0:
  /// all.
  void split_ties(const std::vector<std::uint64_t>& ties) {
    std::vector<Keys> equal(queries_.size(), Keys(task_.blocks()));
    scan<int>(
        task_, series_, [] { return 0; },
        [&](const Block& block, int&) {
          for_queries(task_, block, series_, queries_,
                      [&](std::span<const std::uint32_t> keys, std::size_t q) {
                        equal[q][block.number] =
                            static_cast<std::uint32_t>(count_equal(keys, queries_[q].key));
                      });
        });
    for (std::size_t q = 0; q < queries_.size(); ++q) {
      if (ties[q] == 0) continue;
      std::uint64_t left = ties[q];
      std::uint64_t number = 0;
      while (left > equal[q][number]) left -= equal[q][number++];
      queries_[q].block = number;
      queries_[q].ties = left;
    }
  }
};

}  // namespace

Series series_of(std::function<In(const Block& block, std::size_t s)> values) {
  return {.keys = [values = std::move(values)](const Block& block, std::size_t s,
                                               std::span<std::uint32_t> keys) {
    magnitude_keys(keys, values(block, s));
  }};
}

void find_ranks(const MergeTask& task, const Series& series, std::vector<RankQuery>& queries) {
  if (queries.empty()) return;
  if (WindowSearch(task, series, queries).run()) return;
  HistogramSearch(task, series, queries).run();
}

}  // namespace lancet::ops
