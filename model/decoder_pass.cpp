#include "model/decoder_pass.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/error.h"
#include "model/cuda/fused.h"

namespace lancet {
std::vector<std::int64_t> starts_of(const Pass& pass, std::int64_t batch) {
  const std::size_t texts =
      pass.segments.empty() ? static_cast<std::size_t>(batch) : pass.segments.size();
  std::vector<std::int64_t> starts(texts, 0);
  if (pass.cache != nullptr) starts = pass.cache->lengths();
  if (starts.size() != texts ||
      (!pass.lengths.empty() && std::cmp_not_equal(pass.lengths.size(), batch))) {
    fail(ErrorKind::kInternal, "model",
         "expected cache and lengths of " + std::to_string(texts) + " rows");
  }
  return starts;
}

PassState::PassState(const DecoderSpec& spec, const std::vector<RopeCache>& ropes,
                     const at::Tensor& hidden, const Pass& pass)
    : spec_(spec), pass_(pass), ropes_(ropes) {
  attention_.spec = &spec.attention;
  attention_.segments = pass.segments;
  attention_.starts = starts_of(pass, hidden.size(0));
  tokens_ = hidden.size(1);
  for (std::size_t b = 0; b < attention_.starts.size(); ++b) {
    const std::int64_t start = attention_.starts[b];
    const std::int64_t turned = pass.segments.empty() ? tokens_ : pass.segments[b];
    std::int64_t length = start + (pass.lengths.empty() ? turned : pass.lengths[b]);
    if (pass.cache != nullptr) length = std::max(length, pass.cache->expected(b));
    texts_.push_back({length, start, turned});
    cached_ = cached_ || start > 0;
  }
  fused_ = !ropes.empty() && fused::covers(hidden);
  if (pass.append) attention_.append_to = pass.cache;
}

const PassState::Turns& PassState::turns(std::size_t rope, at::Device device) {
  for (const Turns& each : turns_)
    if (each.rope == rope && each.device == device) return each;
  Turns& made = turns_.emplace_back(Turns{rope, device, ropes_[rope].rows(texts_, device), {}});
  if (fused_)
    made.positions = token_positions(made.rows.first, attention_.segments, tokens_).to(device);
  return made;
}

const AttentionPass& PassState::attention(std::int64_t layer, const at::Tensor& sinks,
                                          at::Device device) {
  static const RopeSpec no_rope{.kind = RopeKind::kNone};
  const LayerSpec& each = spec_.layer[static_cast<std::size_t>(layer)];
  attention_.layer = layer;
  attention_.window = each.window;
  attention_.chunk = each.chunk;
  attention_.sinks = sinks;
  attention_.rope = &no_rope;
  if (each.rope >= 0) {
    const auto rope = static_cast<std::size_t>(each.rope);
    const Turns& by = turns(rope, device);
    attention_.rope = &spec_.ropes[rope];
    attention_.table = by.rows.table;
    attention_.table_rows = by.rows.first;
    attention_.positions = by.positions;
  }
  if (cached_) {
    attention_.prefix_keys = pass_.cache->keys(layer);
    attention_.prefix_values = pass_.cache->values(layer);
  }
  return attention_;
}

SsmPass PassState::state_space(std::int64_t layer) const {
  const bool append = attention_.append_to != nullptr;
  return {.spec = &spec_.ssm,
          .lengths = append ? pass_.lengths : std::vector<std::int64_t>(),
          .segments = pass_.segments,
          .before = cached_ ? &pass_.cache->state(layer) : nullptr,
          .after = append ? &pass_.cache->next_state(layer) : nullptr};
}

}  // namespace lancet
