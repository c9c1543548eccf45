#include "model/decoder_pass.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/error.h"
#include "model/cuda/fused.h"

namespace lancet {
namespace {

std::int64_t longest_segment(const Pass& pass) { return *std::ranges::max_element(pass.segments); }

}  // namespace

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
  const std::int64_t batch = hidden.size(0);
  const std::int64_t tokens = pass.segments.empty() ? hidden.size(1) : longest_segment(pass);
  attention_.spec = &spec.attention;
  attention_.segments = pass.segments;
  attention_.starts = starts_of(pass, batch);
  for (std::size_t b = 0; b < attention_.starts.size(); ++b) {
    const std::int64_t own = !pass.segments.empty() ? pass.segments[b]
                             : pass.lengths.empty() ? tokens
                                                    : pass.lengths[b];
    longest_ = std::max(longest_, attention_.starts[b] + own);
  }
  positions_ = *std::ranges::max_element(attention_.starts) + tokens;
  if (!ropes.empty() && fused::covers(hidden)) {
    attention_.positions =
        token_positions(attention_.starts, attention_.segments, hidden.size(1)).to(hidden.device());
  }
  if (pass.append) attention_.append_to = pass.cache;
  cached_ = positions_ > tokens;
}

const AttentionPass& PassState::attention(std::int64_t layer, const at::Tensor& sinks,
                                          at::Device device) {
  static const RopeSpec no_rope{.kind = RopeKind::kNone};
  const LayerSpec& each = spec_.layer[static_cast<std::size_t>(layer)];
  attention_.layer = layer;
  attention_.window = each.window;
  attention_.chunk = each.chunk;
  attention_.sinks = sinks;
  const auto rope = static_cast<std::size_t>(each.rope);
  attention_.rope = each.rope < 0 ? &no_rope : &spec_.ropes[rope];
  attention_.table = each.rope < 0 ? RopeTable() : ropes_[rope].table(longest_, positions_, device);
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
