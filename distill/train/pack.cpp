#include "distill/train/pack.h"

#include <algorithm>
#include <numeric>
#include <set>

#include <fmt/format.h>

#include "core/error.h"

namespace lancet {
namespace {

/// A place in the order, and the length of the row that stands there.
struct Placed {
  std::size_t place;
  std::int64_t length;
};

void check_length(std::span<const std::size_t> order, std::span<const std::uint32_t> lengths,
                  std::int64_t limit, const char* what) {
  for (const std::size_t row : order) {
    if (static_cast<std::int64_t>(lengths[row]) > limit)
      fail(ErrorKind::kUsage, "train",
           fmt::format("a row of {} tokens does not fit {} of {}", lengths[row], what, limit),
           "a larger --batch-tokens, or a smaller --max-length");
  }
}

/// From the longest down; equal ones as they stand.
void sort_longest_first(std::vector<Placed>& rows) {
  std::stable_sort(rows.begin(), rows.end(),
                   [](const Placed& a, const Placed& b) { return a.length > b.length; });
}

/// Packs of places into packs of rows, in the order of their first rows.
std::vector<Pack> finish(std::vector<std::vector<std::size_t>> packs,
                         std::span<const std::size_t> order,
                         std::span<const std::uint32_t> lengths) {
  for (auto& places : packs) std::sort(places.begin(), places.end());
  std::sort(packs.begin(), packs.end(),
            [](const auto& a, const auto& b) { return a.front() < b.front(); });
  std::vector<Pack> out;
  out.reserve(packs.size());
  for (const auto& places : packs) {
    Pack& pack = out.emplace_back();
    for (const std::size_t place : places) {
      pack.examples.push_back(order[place]);
      pack.tokens += lengths[order[place]];
    }
  }
  return out;
}

std::int64_t padded_size(const Pack& pack, std::span<const std::uint32_t> lengths) {
  std::int64_t longest = 0;
  for (const std::size_t row : pack.examples)
    longest = std::max(longest, static_cast<std::int64_t>(lengths[row]));
  return longest * static_cast<std::int64_t>(pack.examples.size());
}

}  // namespace

std::vector<Pack> pack_best_fit(std::span<const std::size_t> order,
                                std::span<const std::uint32_t> lengths, std::int64_t capacity) {
  check_length(order, lengths, capacity, "a pack");
  std::vector<Placed> rows;
  rows.reserve(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) rows.push_back({i, lengths[order[i]]});
  sort_longest_first(rows);
  std::vector<std::vector<std::size_t>> packs;
  // by_room[r]: packs with room for r more tokens; open: those r that have any.
  std::vector<std::vector<std::size_t>> by_room(static_cast<std::size_t>(capacity) + 1);
  std::set<std::int64_t> open;
  for (const Placed& row : rows) {
    const auto fit = open.lower_bound(row.length);
    std::size_t pack = packs.size();
    std::int64_t room = capacity;
    if (fit == open.end()) {
      packs.emplace_back();
    } else {
      room = *fit;
      auto& those = by_room[static_cast<std::size_t>(room)];
      pack = those.back();
      those.pop_back();
      if (those.empty()) open.erase(fit);
    }
    packs[pack].push_back(row.place);
    const std::int64_t left = room - row.length;
    if (left == 0) continue;
    by_room[static_cast<std::size_t>(left)].push_back(pack);
    open.insert(left);
  }
  return finish(std::move(packs), order, lengths);
}

std::vector<Pack> batch_rows(std::span<const std::size_t> order,
                             std::span<const std::uint32_t> lengths, std::int64_t rows) {
  if (rows < 1) fail(ErrorKind::kUsage, "train", "expected batches of at least one row");
  std::vector<std::vector<std::size_t>> packs;
  for (std::size_t place = 0; place < order.size(); ++place) {
    if (place % static_cast<std::size_t>(rows) == 0) packs.emplace_back();
    packs.back().push_back(place);
  }
  return finish(std::move(packs), order, lengths);
}

std::vector<Pack> batch_tokens(std::span<const std::size_t> order,
                               std::span<const std::uint32_t> lengths, std::int64_t tokens,
                               std::size_t window) {
  check_length(order, lengths, tokens, "a batch");
  std::vector<std::vector<std::size_t>> packs;
  std::vector<Placed> waiting;
  std::int64_t waiting_tokens = 0;
  const auto close_window = [&] {
    sort_longest_first(waiting);
    std::int64_t longest = 0;
    for (const Placed& row : waiting) {
      const bool fits =
          longest > 0 && longest * static_cast<std::int64_t>(packs.back().size() + 1) <= tokens;
      if (!fits) {
        packs.emplace_back();
        longest = row.length;
      }
      packs.back().push_back(row.place);
    }
    waiting.clear();
    waiting_tokens = 0;
  };
  for (std::size_t place = 0; place < order.size(); ++place) {
    waiting.push_back({place, lengths[order[place]]});
    waiting_tokens += waiting.back().length;
    if (waiting_tokens >= tokens * static_cast<std::int64_t>(std::max<std::size_t>(window, 1)))
      close_window();
  }
  close_window();
  return finish(std::move(packs), order, lengths);
}

PackReport report_packs(std::span<const Pack> packs, std::span<const std::uint32_t> lengths,
                        std::int64_t capacity) {
  PackReport out{.packs = packs.size()};
  for (const Pack& pack : packs) {
    out.rows += pack.examples.size();
    out.tokens += pack.tokens;
    out.padded += padded_size(pack, lengths);
  }
  const auto share = [&](std::int64_t of) {
    return of > 0 ? static_cast<double>(out.tokens) / static_cast<double>(of) : 0.0;
  };
  out.padding = share(out.padded);
  out.fill = capacity > 0 ? share(capacity * static_cast<std::int64_t>(packs.size())) : out.padding;
  return out;
}

Json pack_json(const PackReport& report) {
  return {{"rows", report.rows},     {"packs", report.packs}, {"tokens", report.tokens},
          {"padded", report.padded}, {"fill", report.fill},   {"padding", report.padding}};
}

}  // namespace lancet
