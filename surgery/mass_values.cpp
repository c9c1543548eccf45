#include "surgery/mass_values.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "core/progress.h"
#include "model/runtime.h"
#include "surgery/contexts.h"

namespace lancet {
namespace {

constexpr std::int64_t kChunkRows = 96;     ///< of a chunk, whose keys and values are kept
constexpr std::int64_t kChunkTokens = 384;  ///< behind their subjects: products that fill the cache
constexpr std::int64_t kGroupChunks = 4;    ///< whose keys and values exist at a time

ValueOptions value_options(const Parameters& parameters) {
  return {.steps = parameters.integer("steps"),
          .lr = parameters.number("lr"),
          .clamp = parameters.number("clamp"),
          .kl = parameters.number("kl"),
          .weight_decay = parameters.number("weight_decay"),
          .stop_loss = parameters.number("stop"),
          .stop_nll = parameters.number_or("stop_nll", is_sampled(parameters) ? 0.1 : 0),
          .first_rows = parameters.integer_or("first_contexts", is_sampled(parameters) ? 2 : 0),
          .at_stream = true};
}

/// Tokens from the subject's last one to the end: what a pass of the search runs for each row.
std::int64_t tail_of(const FactRows& fact) {
  const PromptRow& bare = fact.rewriting.front();
  return std::ssize(bare.ids) - bare.lookup;
}

/// Consecutive facts whose rows fill one chunk: [first, last).
std::vector<RowRange> fact_chunks(const std::vector<FactRows>& facts) {
  std::vector<RowRange> out;
  std::int64_t rows = 0, tokens = 0;
  for (std::size_t f = 0; f < facts.size(); ++f) {
    const std::int64_t count = std::ssize(facts[f].rewriting) + 1, own = count * tail_of(facts[f]);
    if (out.empty() || rows + count > kChunkRows || tokens + own > kChunkTokens) {
      out.emplace_back(f, f);
      rows = tokens = 0;
    }
    rows += count;
    tokens += own;
    out.back().second = static_cast<std::int64_t>(f) + 1;
  }
  return out;
}

}  // namespace

std::vector<Value> find_values(const Decoder& model, const EditInput& input, std::int64_t layer,
                               const std::vector<FactRows>& all,
                               const std::vector<std::string>& ids) {
  std::vector<std::size_t> order(all.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  // Tails of one length together: a chunk pads to its longest.
  std::ranges::stable_sort(order, {}, [&](std::size_t f) { return tail_of(all[f]); });
  std::vector<FactRows> facts;
  facts.reserve(order.size());
  for (const std::size_t f : order) facts.push_back(all[f]);
  ValueOptions options = value_options(input.parameters);
  const auto chunks = fact_chunks(facts);
  std::vector<Value> out(all.size());
  Progress progress("values", facts.size(), Progress::Unit::kItems);
  std::size_t at = 0;  // of the group's first fact
  options.found = [&](std::size_t fact, double loss, double probability) {
    progress.set_note(
        fmt::format("{}: loss {:.3f}, p(target) {:.3f}", ids[order[at + fact]], loss, probability));
    progress.advance(1);
  };
  for (std::size_t first = 0; first < chunks.size(); first += kGroupChunks) {
    const std::size_t last = std::min(chunks.size(), first + kGroupChunks);
    std::vector<PromptRow> rows;
    std::vector<RowRange> ranges;
    for (std::size_t c = first; c < last; ++c) {
      const auto begin = static_cast<std::int64_t>(rows.size());
      for (std::int64_t f = chunks[c].first; f < chunks[c].second; ++f)
        append_rows(facts[static_cast<std::size_t>(f)], rows);
      ranges.emplace_back(begin, static_cast<std::int64_t>(rows.size()));
    }
    const auto begin = static_cast<std::size_t>(chunks[first].first),
               end = static_cast<std::size_t>(chunks[last - 1].second);
    at = begin;
    const RowStates states = read_rows(model, rows, layer, true, std::move(ranges));
    auto values = optimise_values(model, {&facts[begin], end - begin}, states, layer, options);
    for (std::size_t f = begin; f < end; ++f) out[order[f]] = std::move(values[f - begin]);
  }
  progress.finish();
  trim_memory();
  return out;
}

}  // namespace lancet
