#include "surgery/key.h"

#include <algorithm>

#include <c10/core/GradMode.h>

#include "core/interrupt.h"
#include "model/runtime.h"
#include "surgery/down.h"

namespace lancet {
namespace {

constexpr std::int64_t kChunks = 1;         ///< threads that one fact can use
constexpr std::int64_t kSmallestChunk = 3;  ///< rows below which matrix products get slow

/// [rows, tokens, d] -> [rows, d] at one position of each row.
at::Tensor at_lookup(const at::Tensor& hidden, const std::vector<PromptRow>& rows,
                     std::int64_t first) {
  std::vector<at::Tensor> out;
  for (std::int64_t r = 0; r < hidden.size(0); ++r) {
    out.push_back(hidden[r][rows[static_cast<std::size_t>(first + r)].lookup]);
  }
  return at::stack(out);
}

void read_prefix(const Decoder& model, const at::Tensor& hidden,
                 const std::vector<std::int64_t>& lookups, std::int64_t layer, RowChunk& chunk) {
  const std::int64_t layers = model.spec().layers;
  const std::int64_t longest = std::max<std::int64_t>(1, *std::ranges::max_element(lookups));
  chunk.prefix =
      std::make_unique<KvCache>(model.spec(), hidden.size(0), longest, model.options(), layer + 1);
  if (layer + 1 >= layers) return;
  std::vector<std::int64_t> whole;
  for (std::size_t r = 0; r < lookups.size(); ++r) whole.push_back(lookups[r] + chunk.lengths[r]);
  chunk.prefix->expect(std::move(whole));
  Pass pass;
  pass.cache = chunk.prefix.get();
  pass.append = true;
  for (const std::int64_t lookup : lookups)
    pass.lengths.push_back(std::max<std::int64_t>(1, lookup));
  (void)model.run(hidden.narrow(1, 0, longest), layer + 1, layers, pass);
  chunk.prefix->advance(pass.lengths);
  // A subject that is the first token has no prefix; one token stood in for it.
  chunk.prefix->truncate(lookups);
}

void read_chunk(const Decoder& model, const std::vector<PromptRow>& rows, std::int64_t first,
                std::int64_t last, std::int64_t layer, bool tails, RowStates& out,
                RowChunk& chunk) {
  c10::AutoGradMode no_gradient(false);
  Pass pass;
  const at::Tensor ids = pad_rows(rows, first, last, pass.lengths).to(model.options().device());
  pass.hook = [&](std::int64_t at_layer, Place place, const at::Tensor& value) {
    if (at_layer != layer) return value;
    if (place == key_place(model, layer))
      out.keys.narrow(0, first, last - first)
          .copy_(keys_at(model, layer, at_lookup(value, rows, first)));
    if (place == Place::kMlpOutput) {
      out.values.narrow(0, first, last - first).copy_(at_lookup(value, rows, first));
      if (!tails) throw StopPass{};
    }
    return value;
  };
  at::Tensor hidden = model.run(model.embed(ids), 0, layer + 1, pass);
  if (!tails) return;
  chunk.first = first;
  std::vector<std::int64_t> lookups;
  for (std::int64_t r = first; r < last; ++r) {
    const PromptRow& row = rows[static_cast<std::size_t>(r)];
    lookups.push_back(row.lookup);
    chunk.lengths.push_back(static_cast<std::int64_t>(row.ids.size()) - row.lookup);
  }
  chunk.tail = at::zeros({last - first, *std::ranges::max_element(chunk.lengths), hidden.size(2)},
                         hidden.options());
  for (std::int64_t r = 0; r < last - first; ++r) {
    const auto i = static_cast<std::size_t>(r);
    chunk.tail[r]
        .narrow(0, 0, chunk.lengths[i])
        .copy_(hidden[r].narrow(0, lookups[i], chunk.lengths[i]));
  }
  read_prefix(model, hidden, lookups, layer, chunk);
}

}  // namespace

std::vector<RowRange> row_chunks(std::int64_t count) {
  const std::int64_t chunks = std::clamp<std::int64_t>(count / kSmallestChunk, 1, kChunks);
  std::vector<RowRange> out;
  for (std::int64_t c = 0; c < chunks; ++c)
    out.emplace_back(c * count / chunks, (c + 1) * count / chunks);
  return out;
}

at::Tensor pad_rows(const std::vector<PromptRow>& rows, std::int64_t first, std::int64_t last,
                    std::vector<std::int64_t>& lengths) {
  std::int64_t longest = 0;
  for (std::int64_t r = first; r < last; ++r) {
    lengths.push_back(static_cast<std::int64_t>(rows[static_cast<std::size_t>(r)].ids.size()));
    longest = std::max(longest, lengths.back());
  }
  at::Tensor ids = at::zeros({last - first, longest}, at::kLong);
  for (std::int64_t r = first; r < last; ++r) {
    const auto& row = rows[static_cast<std::size_t>(r)].ids;
    std::copy(row.begin(), row.end(), ids.data_ptr<std::int64_t>() + (r - first) * longest);
  }
  return ids;
}

RowStates read_rows(const Decoder& model, const std::vector<PromptRow>& rows, std::int64_t layer,
                    bool tails, std::vector<RowRange> ranges) {
  const auto count = static_cast<std::int64_t>(rows.size());
  RowStates out;
  out.keys = at::empty({count, key_width(model, layer)}, model.options());
  out.values = at::empty({count, model.spec().d_model}, model.options());
  const std::vector<RowRange> chunks = ranges.empty() ? row_chunks(count) : std::move(ranges);
  out.chunks.resize(chunks.size());
  for_each_chunk(static_cast<std::int64_t>(chunks.size()), [&](std::int64_t c) {
    check_interrupted();
    const auto [first, last] = chunks[static_cast<std::size_t>(c)];
    read_chunk(model, rows, first, last, layer, tails, out,
               out.chunks[static_cast<std::size_t>(c)]);
  });
  return out;
}

}  // namespace lancet
