#include "model/session.h"

#include <algorithm>
#include <utility>

#include <c10/core/InferenceMode.h>

#include "core/error.h"
#include "core/interrupt.h"

namespace lancet {
namespace {

std::int64_t longest(const std::vector<std::vector<std::int32_t>>& prompts) {
  std::size_t most = 0;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    if (prompts[i].empty()) {
      fail(ErrorKind::kInput, "generate",
           "expected at least one token, found none (prompt " + std::to_string(i) + ")");
    }
    most = std::max(most, prompts[i].size());
  }
  return static_cast<std::int64_t>(most);
}

/// Reads more[b] behind what row b of the cache holds, in pieces: [rows, d_model] of each row's
/// last token.
at::Tensor read_pieces(const Decoder& model, KvCache& cache,
                       const std::vector<std::vector<std::int32_t>>& more, std::int64_t piece) {
  const std::int64_t most = longest(more), rows = cache.batch();
  at::Tensor last = at::empty({rows, model.spec().d_model}, model.options());
  for (std::int64_t first = 0; first < most; first += piece) {
    check_interrupted();
    const std::int64_t tokens = std::min(piece, most - first);
    const at::Tensor ids = at::zeros({rows, tokens}, at::kLong);
    std::vector<std::int64_t> counts;
    for (std::int64_t b = 0; b < rows; ++b) {
      const auto& text = more[static_cast<std::size_t>(b)];
      const auto length = static_cast<std::int64_t>(text.size());
      counts.push_back(std::clamp<std::int64_t>(length - first, 0, tokens));
      std::copy_n(text.begin() + std::min(first, length), counts.back(),
                  ids.mutable_data_ptr<std::int64_t>() + b * tokens);
    }
    const at::Tensor hidden =
        model.run(model.embed(ids), 0, model.spec().layers,
                  {.cache = &cache, .append = true, .lengths = counts, .hook = {}});
    for (std::int64_t b = 0; b < rows; ++b) {
      const std::int64_t count = counts[static_cast<std::size_t>(b)];
      if (count > 0) last.select(0, b).copy_(hidden.select(0, b).select(0, count - 1));
    }
    cache.advance(counts);
  }
  return last;
}

/// Whether one more token gives all keys of a text other frequencies.
bool crosses(const DecoderSpec& spec, std::int64_t length) {
  return std::ranges::any_of(spec.ropes, [&](const RopeSpec& rope) {
    return rope.kind == RopeKind::kLongRope &&
           rope_regime(rope, spec.max_positions, length) !=
               rope_regime(rope, spec.max_positions, length + 1);
  });
}

}  // namespace

bool feeds_ahead(const Decoder& model) {
  const DecoderSpec& spec = model.spec();
  const AttentionSpec& attention = spec.attention;
  const auto keeps_states = [](const LayerSpec& each) { return each.ssm; };
  const auto turns_by_length = [](const RopeSpec& each) {
    return each.kind == RopeKind::kDynamic || each.kind == RopeKind::kLongRope;
  };
  const bool own_attention = attention.softcap == 0 && attention.alibi.empty() && !attention.sinks;
  // Low-rank parts are merged with their weight where there are many rows.
  return model.options().device().is_cpu() && !model.adapted() && own_attention &&
         spec.logit_softcap == 0 && spec.mlp.activation != Activation::kClampedSwiglu &&
         spec.moe.router != RouterKind::kSigmoid && spec.names.shared_gate.empty() &&
         std::ranges::none_of(spec.layer, keeps_states) &&
         std::ranges::none_of(spec.ropes, turns_by_length);
}

Session::Session(const Decoder& model, const std::vector<std::vector<std::int32_t>>& prompts,
                 std::int64_t room, std::int64_t piece)
    : model_(model),
      steps_(model.for_steps()),
      cache_(model.spec(), static_cast<std::int64_t>(prompts.size()), longest(prompts) + room,
             model.options()) {
  texts_.resize(prompts.size());
  read(prompts, piece);
}

bool Session::keys_fit(std::int64_t length) const {
  const DecoderSpec& spec = model_.spec();
  const auto fit = [&](const RopeSpec& rope) {
    const std::int64_t regime = rope_regime(rope, spec.max_positions, length);
    return std::ranges::all_of(cache_.lengths(), [&](std::int64_t own) {
      return rope_regime(rope, spec.max_positions, own) == regime &&
             (rope.kind != RopeKind::kDynamic || regime == 0);
    });
  };
  return std::ranges::all_of(spec.ropes, fit);
}

void Session::read(const std::vector<std::vector<std::int32_t>>& more, std::int64_t piece) {
  const c10::InferenceMode inference;
  std::vector<std::int64_t> lengths;
  for (std::size_t b = 0; b < texts_.size(); ++b) {
    texts_[b].insert(texts_[b].end(), more[b].begin(), more[b].end());
    lengths.push_back(std::ssize(texts_[b]));
  }
  cache_.expect(lengths);
  logits_ = model_.head(read_pieces(model_, cache_, more, piece)).cpu();
}

void Session::read_again(const std::vector<std::int64_t>& rows) {
  std::vector<std::vector<std::int32_t>> texts;
  std::vector<std::int64_t> lengths;
  for (const std::int64_t row : rows) {
    texts.push_back(texts_[static_cast<std::size_t>(row)]);
    lengths.push_back(std::ssize(texts.back()) + 1);
  }
  KvCache own(model_.spec(), std::ssize(rows), longest(texts), model_.options());
  own.expect(lengths);
  read_pieces(model_, own, texts, kPiece);
  cache_.replace(rows, own);
}

void Session::truncate(std::int64_t length) {
  cache_.truncate(std::vector<std::int64_t>(static_cast<std::size_t>(rows()), length));
  for (auto& text : texts_) text.resize(std::min(text.size(), static_cast<std::size_t>(length)));
}

void Session::feed(const std::vector<std::int32_t>& next) {
  const c10::InferenceMode inference;
  check_interrupted();
  std::vector<std::int64_t> anew;
  for (std::int64_t b = 0; b < rows(); ++b)
    if (crosses(model_.spec(), cache_.lengths()[static_cast<std::size_t>(b)])) anew.push_back(b);
  if (!anew.empty()) read_again(anew);
  const at::Tensor ids = at::empty({rows(), 1}, at::kLong);
  std::copy_n(next.begin(), rows(), ids.mutable_data_ptr<std::int64_t>());
  const at::Tensor hidden =
      steps_.run(steps_.embed(ids), 0, steps_.spec().layers,
                 {.cache = &cache_, .append = true, .lengths = {}, .hook = {}});
  cache_.advance(std::vector<std::int64_t>(static_cast<std::size_t>(rows()), 1));
  for (std::size_t b = 0; b < texts_.size(); ++b) texts_[b].push_back(next[b]);
  logits_ = steps_.head(hidden.select(1, 0)).cpu();
}

void Session::feed_ahead(const std::vector<std::int32_t>& ids) {
  const c10::InferenceMode inference;
  check_interrupted();
  const auto count = std::ssize(ids);
  if (rows() != 1 || count < 1 || count > kFewTokens)
    fail(ErrorKind::kInternal, "generate",
         "expected one row and no more tokens than can be read ahead");
  const at::Tensor row = at::empty({1, count}, at::kLong);
  std::ranges::copy(ids, row.mutable_data_ptr<std::int64_t>());
  const at::Tensor hidden =
      steps_.run(steps_.embed(row), 0, steps_.spec().layers,
                 {.cache = &cache_, .append = true, .lengths = {}, .hook = {}});
  cache_.advance({count});
  texts_[0].insert(texts_[0].end(), ids.begin(), ids.end());
  logits_ = steps_.head(hidden.select(0, 0)).cpu();
}

void Session::keep(const std::vector<std::int64_t>& rows) {
  cache_ = cache_.select(rows);
  std::vector<std::vector<std::int32_t>> kept;
  kept.reserve(rows.size());
  for (const std::int64_t row : rows) kept.push_back(texts_[static_cast<std::size_t>(row)]);
  texts_ = std::move(kept);
  logits_ = logits_.index_select(0, at::tensor(rows, at::kLong));
}

}  // namespace lancet
