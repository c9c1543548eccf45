#include "model/session.h"

#include <algorithm>

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
  read(prompts, piece);
}

void Session::read(const std::vector<std::vector<std::int32_t>>& more, std::int64_t piece) {
  const c10::InferenceMode inference;
  const std::int64_t most = longest(more);
  at::Tensor last = at::empty({rows(), model_.spec().d_model}, model_.options());
  for (std::int64_t first = 0; first < most; first += piece) {
    check_interrupted();
    const std::int64_t tokens = std::min(piece, most - first);
    const at::Tensor ids = at::zeros({rows(), tokens}, at::kLong);
    std::vector<std::int64_t> counts;
    for (std::int64_t b = 0; b < rows(); ++b) {
      const auto& prompt = more[static_cast<std::size_t>(b)];
      const auto length = static_cast<std::int64_t>(prompt.size());
      counts.push_back(std::clamp<std::int64_t>(length - first, 0, tokens));
      std::copy_n(prompt.begin() + std::min(first, length), counts.back(),
                  ids.mutable_data_ptr<std::int64_t>() + b * tokens);
    }
    const at::Tensor hidden =
        model_.run(model_.embed(ids), 0, model_.spec().layers,
                   {.cache = &cache_, .append = true, .lengths = counts, .hook = {}});
    for (std::int64_t b = 0; b < rows(); ++b) {
      const std::int64_t count = counts[static_cast<std::size_t>(b)];
      if (count > 0) last.select(0, b).copy_(hidden.select(0, b).select(0, count - 1));
    }
    cache_.advance(counts);
  }
  logits_ = model_.head(last).cpu();
}

void Session::truncate(std::int64_t length) {
  cache_.truncate(std::vector<std::int64_t>(static_cast<std::size_t>(rows()), length));
}

void Session::feed(const std::vector<std::int32_t>& next) {
  const c10::InferenceMode inference;
  check_interrupted();
  const at::Tensor ids = at::empty({rows(), 1}, at::kLong);
  std::copy_n(next.begin(), rows(), ids.mutable_data_ptr<std::int64_t>());
  const at::Tensor hidden =
      steps_.run(steps_.embed(ids), 0, steps_.spec().layers,
                 {.cache = &cache_, .append = true, .lengths = {}, .hook = {}});
  cache_.advance(std::vector<std::int64_t>(static_cast<std::size_t>(rows()), 1));
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
  logits_ = steps_.head(hidden.select(0, 0)).cpu();
}

void Session::keep(const std::vector<std::int64_t>& rows) {
  cache_ = cache_.select(rows);
  logits_ = logits_.index_select(0, at::tensor(rows, at::kLong));
}

}  // namespace lancet
