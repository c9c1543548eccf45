#include "surgery/statistics/collect.h"

#include <algorithm>
#include <optional>

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/progress.h"
#include "core/seconds.h"
#include "surgery/down.h"
#include "surgery/key.h"
#include "surgery/statistics/checkpoint.h"
#include "surgery/statistics/moment.h"

namespace lancet {
namespace {

constexpr std::int64_t kChunkTokens = 1024;  ///< padded tokens of one pass

/// Windows of the documents, longest first, so that batches have little padding.
std::vector<PromptRow> cut(const Tokenizer& tokenizer, const std::vector<std::string>& documents,
                           std::int64_t window, std::int64_t room, std::int64_t& used) {
  std::vector<PromptRow> out;
  std::int64_t left = room > 0 ? room : INT64_MAX;
  used = 0;
  for (const std::string& document : documents) {
    if (left == 0) break;
    ++used;
    const auto ids = tokenizer.encode(document).ids;
    const std::int64_t count = std::min(left, std::ssize(ids));
    for (std::int64_t first = 0; first < count; first += window)
      out.push_back({{ids.begin() + first, ids.begin() + std::min(count, first + window)}, 0});
    left -= count;
  }
  std::ranges::stable_sort(out, std::greater{},
                           [](const PromptRow& row) { return row.ids.size(); });
  return out;
}

/// Adds the keys of rows [first, last) at every layer; the pass ends at the highest.
void add_rows(const Decoder& model, const std::vector<PromptRow>& rows, std::int64_t first,
              std::int64_t last, Moments& moments) {
  Pass pass;
  const at::Tensor ids = pad_rows(rows, first, last, pass.lengths).to(model.options().device());
  pass.hook = [&](std::int64_t layer, Place place, const at::Tensor& value) {
    if (place != key_place(model, layer)) return value;
    const auto found = std::ranges::find(moments.layers, layer);
    if (found == moments.layers.end()) return value;
    std::vector<at::Tensor> keys;
    for (std::int64_t r = 0; r < last - first; ++r) {
      const at::Tensor own = value[r].narrow(0, 0, pass.lengths[static_cast<std::size_t>(r)]);
      keys.push_back(keys_at(model, layer, own).t());
    }
    at::Tensor& sum = moments.sums[static_cast<std::size_t>(found - moments.layers.begin())];
    const std::int64_t width = key_width(model, layer);
    if (!sum.defined()) sum = at::zeros({width, width}, at::kDouble);
    add_moment(at::cat(keys, 1).to(at::kFloat).contiguous(), sum);
    if (layer == moments.layers.back()) throw StopPass{};
    return value;
  };
  (void)model.run(model.embed(ids), 0, moments.layers.back() + 1, pass);
}

}  // namespace

void add_group(const Decoder& model, const Tokenizer& tokenizer,
               const std::vector<std::string>& documents, std::int64_t window, std::int64_t room,
               Moments& moments) {
  const c10::AutoGradMode no_gradient(false);
  std::int64_t used = 0;
  const std::vector<PromptRow> rows = cut(tokenizer, documents, window, room, used);
  const auto count = std::ssize(rows);
  for (std::int64_t first = 0; first < count;) {
    check_interrupted();
    const auto longest = std::ssize(rows[static_cast<std::size_t>(first)].ids);
    if (longest == 0) break;
    const std::int64_t last =
        std::min(count, first + std::max<std::int64_t>(1, kChunkTokens / longest));
    add_rows(model, rows, first, last, moments);
    first = last;
  }
  for (const PromptRow& row : rows) moments.tokens += std::ssize(row.ids);
  moments.documents += used;
  ++moments.groups;
}

Moments collect_moments(const Decoder& model, const Tokenizer& tokenizer,
                        const std::vector<std::int64_t>& layers, Corpus& corpus,
                        const Json& identity, const CollectOptions& options,
                        std::int64_t& resumed_tokens) {
  const bool keeps = !options.checkpoint.empty();
  Moments moments = keeps ? load_moments(options.checkpoint, layers, identity) : Moments{};
  if (moments.layers.empty()) moments = {layers, std::vector<at::Tensor>(layers.size())};
  resumed_tokens = moments.tokens;
  for (std::int64_t group = 0; group < moments.groups; ++group) corpus.skip();
  Progress progress("second moments", static_cast<std::uint64_t>(options.max_tokens),
                    Progress::Unit::kTokens);
  progress.advance(static_cast<std::uint64_t>(moments.tokens));
  std::optional<Timer> saved;
  double cost = 0;  // seconds of the last checkpoint
  while (options.max_tokens == 0 || moments.tokens < options.max_tokens) {
    const std::vector<std::string> documents = corpus.next();
    if (documents.empty()) break;
    const std::int64_t before = moments.tokens;
    add_group(model, tokenizer, documents, options.window,
              options.max_tokens == 0 ? 0 : options.max_tokens - moments.tokens, moments);
    progress.advance(static_cast<std::uint64_t>(moments.tokens - before));
    const bool fresh = saved && saved->seconds() < std::max(options.checkpoint_seconds, 20 * cost);
    if (!keeps || fresh) continue;
    const Timer timer;
    save_moments(options.checkpoint, moments, identity);
    cost = timer.seconds();
    saved = Timer();
  }
  progress.finish();
  if (moments.tokens == 0) fail(ErrorKind::kInput, "covariance", "expected text, found none");
  for (at::Tensor& sum : moments.sums) mirror_moment(sum);
  return moments;
}

}  // namespace lancet
