#include "merge/ops/select.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "merge/ops/keys.h"

namespace lancet::ops {

namespace {

constexpr std::uint32_t kNone = UINT32_MAX;  ///< above every key

}  // namespace

std::vector<BandFilter> BandFilter::find(const MergeTask& task, const Series& series,
                                         const std::vector<RankBand>& bands) {
  std::vector<BandFilter> filters(bands.size());
  std::vector<RankQuery> queries;
  std::vector<Cut*> cuts;
  const auto add = [&](std::size_t s, Cut& cut, std::uint64_t count) {
    cut.none = count == 0;
    cut.all = count >= task.elements();
    if (cut.none || cut.all) return;
    queries.push_back({.series = s, .rank = count - 1});
    cuts.push_back(&cut);
  };
  for (std::size_t s = 0; s < bands.size(); ++s) {
    add(s, filters[s].inner_, bands[s].begin);
    if (bands[s].of_nonzero < 0) {
      add(s, filters[s].outer_, bands[s].end);
    } else if (task.elements() > 0) {
      filters[s].outer_.none = false;
      queries.push_back({.series = s, .of_nonzero = bands[s].of_nonzero});
      cuts.push_back(&filters[s].outer_);
    }
  }
  find_ranks(task, series, queries);
  for (std::size_t q = 0; q < queries.size(); ++q) {
    cuts[q]->last = queries[q];
    if (queries[q].empty) cuts[q]->none = true;
  }
  return filters;
}

BandFilter::Side BandFilter::side_of(const Cut& cut, const Block& block) {
  if (cut.none) return {kNone, 0};
  const std::uint32_t key = cut.last.key;
  // Zeros stay zero whichever side they are on.
  if (cut.all || key == 0) return {0, 0};
  if (block.number < cut.last.block) return {key - 1, 0};
  return {key, block.number == cut.last.block ? cut.last.ties : 0};
}

template <typename Visit>
void BandFilter::settle(std::span<const std::uint32_t> keys, Side outer, Side inner,
                        const Visit& visit) {
  const auto is_in = [](Side& side, std::uint32_t key) {
    if (key > side.threshold) return true;
    if (key != side.threshold || side.ties == 0) return false;
    --side.ties;
    return true;
  };
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const bool in_outer = is_in(outer, keys[i]);
    const bool in_inner = is_in(inner, keys[i]);
    visit(i, in_outer && !in_inner);
  }
}

void BandFilter::keep(const Block& block, Out x) const {
  const Side outer = side_of(outer_, block), inner = side_of(inner_, block);
  if (outer.ties == 0 && inner.ties == 0) {
    keep_magnitudes(x, outer.threshold, inner.threshold);
    return;
  }
  magnitude_keys(block.keys, x);
  settle(block.keys, outer, inner, [&](std::size_t i, bool kept) { x[i] = kept ? x[i] : 0.0; });
}

void BandFilter::mark(const Block& block, std::span<const std::uint32_t> keys,
                      std::span<std::uint8_t> bits) const {
  const Side outer = side_of(outer_, block), inner = side_of(inner_, block);
  if (outer.ties == 0 && inner.ties == 0) {
    mark_between(bits, keys, outer.threshold, inner.threshold);
    return;
  }
  std::ranges::fill(bits, std::uint8_t{0});
  settle(keys, outer, inner, [&](std::size_t i, bool kept) {
    bits[i / 8] = static_cast<std::uint8_t>(bits[i / 8] | (kept ? 1U : 0U) << i % 8);
  });
}

std::vector<float> magnitudes_at(const MergeTask& task,
                                 const std::function<In(const Block&)>& values,
                                 const std::vector<std::uint64_t>& ranks) {
  std::vector<RankQuery> queries;
  queries.reserve(ranks.size());
  for (const std::uint64_t rank : ranks) queries.push_back({.rank = task.elements() - 1 - rank});
  find_ranks(task, series_of([&](const Block& block, std::size_t) { return values(block); }),
             queries);
  std::vector<float> out;
  out.reserve(queries.size());
  for (const RankQuery& query : queries) out.push_back(std::bit_cast<float>(query.key));
  return out;
}

}  // namespace lancet::ops
