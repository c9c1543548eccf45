#include "model/attention.h"

#include <algorithm>

#include "model/cuda/fused.h"
#include "model/linear.h"

namespace lancet {
namespace {

/// x [batch, tokens, heads, d], cos and sin [batch, tokens, 1, dims / 2].
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                  const RopeSpec& rope) {
  const at::Tensor turned = x.narrow(-1, 0, rope.dims);
  const at::Tensor kept = x.narrow(-1, rope.dims, x.size(-1) - rope.dims);
  at::Tensor out;
  if (rope.interleaved) {
    const at::Tensor a = turned.slice(-1, 0, rope.dims, 2);
    const at::Tensor b = turned.slice(-1, 1, rope.dims, 2);
    out = at::stack({a * cos - b * sin, b * cos + a * sin}, -1).flatten(-2);
  } else {
    const auto halves = turned.chunk(2, -1);
    out = at::cat({halves[0] * cos - halves[1] * sin, halves[1] * cos + halves[0] * sin}, -1);
  }
  return kept.size(-1) == 0 ? out : at::cat({out, kept}, -1);
}

/// Positions of a pass's keys: [batch, longest + tokens]. The first `longest` keys are the prefix,
/// valid up to starts[b] and far below zero behind it; then come the pass's own.
at::Tensor key_positions(const at::Tensor& starts, std::int64_t longest, std::int64_t tokens) {
  const auto options = starts.options();
  const at::Tensor start = starts.view({-1, 1});
  const at::Tensor slot = at::arange(longest, options).view({1, -1});
  const at::Tensor prefix =
      at::where(slot < start, slot, at::full_like(slot, -1) - longest - tokens);
  return at::cat({prefix.expand({starts.size(0), -1}), start + at::arange(tokens, options)}, 1);
}

/// True where query i of row b (position starts[b] + i) sees the key: [batch, 1, tokens, keys].
at::Tensor visible_keys(const at::Tensor& starts, const at::Tensor& key_position,
                        std::int64_t tokens, const AttentionPass& pass) {
  const at::Tensor query =
      (starts.view({-1, 1}) + at::arange(tokens, starts.options())).unsqueeze(2);
  const at::Tensor key = key_position.unsqueeze(1);
  at::Tensor visible = at::logical_and(key >= 0, key <= query);
  if (pass.window > 0) visible = at::logical_and(visible, key > query - pass.window);
  if (pass.chunk > 0) visible = at::logical_and(visible, key >= query - query % pass.chunk);
  return visible.unsqueeze(1);
}

/// The first `longest` slots of a cache, zero behind each row's start: they are masked, but a NaN
/// in them would survive 0 * NaN.
at::Tensor valid_prefix(const at::Tensor& cache, const at::Tensor& starts, std::int64_t longest) {
  const at::Tensor slot = at::arange(longest, starts.options()).view({1, 1, -1, 1});
  const at::Tensor part = cache.narrow(2, 0, longest);
  return at::where(slot < starts.view({-1, 1, 1, 1}), part, at::zeros({}, part.options()));
}

/// slope * key position for each head: [batch, heads, 1, keys].
at::Tensor alibi_bias(const AttentionSpec& spec, const at::Tensor& key_position) {
  at::Tensor slopes =
      at::tensor(at::ArrayRef<float>(spec.alibi), at::kFloat).to(key_position.device());
  at::Tensor position = key_position.to(at::kFloat);
  if (spec.alibi_bfloat16) {
    slopes = slopes.to(at::kBFloat16);
    position = position.to(at::kBFloat16);
  }
  const at::Tensor bias = slopes.view({1, -1, 1, 1}) * position.view({position.size(0), 1, 1, -1});
  return bias.to(at::kFloat) * spec.alibi_scale;
}

/// Attention with explicit scores: softmax(cap * tanh(scale q k^T / cap) + alibi) v, with a sink
/// beside the keys. q [batch, heads, tokens, d], k and v [batch, kv_heads, keys, d].
at::Tensor attend_scored(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const at::Tensor& mask, const at::Tensor& key_position,
                         const AttentionPass& pass) {
  const AttentionSpec& spec = *pass.spec;
  const std::int64_t batch = q.size(0);
  const std::int64_t tokens = q.size(2);
  const at::Tensor grouped =
      q.reshape({batch, spec.kv_heads, spec.heads / spec.kv_heads, tokens, spec.d_head});
  at::Tensor scores = (at::matmul(grouped, k.unsqueeze(2).transpose(-1, -2)) * spec.scale)
                          .view({batch, spec.heads, tokens, k.size(2)})
                          .to(at::kFloat);
  if (spec.softcap > 0) scores = at::tanh(scores / spec.softcap) * spec.softcap;
  if (!spec.alibi.empty()) scores = scores + alibi_bias(spec, key_position);
  scores = scores.masked_fill(at::logical_not(mask), -1e30);
  if (spec.sinks) {
    const at::Tensor sink =
        pass.sinks.to(at::kFloat).view({1, -1, 1, 1}).expand({batch, -1, tokens, 1});
    scores = at::cat({scores, sink}, -1);
  }
  const at::Tensor weights = at::softmax(scores, -1).narrow(-1, 0, k.size(2)).to(v.scalar_type());
  return at::matmul(weights.reshape({batch, spec.kv_heads, -1, tokens, k.size(2)}), v.unsqueeze(2))
      .view({batch, spec.heads, tokens, spec.d_head});
}

/// attend_composed for each segment by itself.
at::Tensor attend_each(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                       const AttentionPass& pass) {
  AttentionPass one = pass;
  one.segments.clear();
  const auto qs = q.split_with_sizes(pass.segments, 1);
  const auto ks = k.split_with_sizes(pass.segments, 1);
  const auto vs = v.split_with_sizes(pass.segments, 1);
  std::vector<at::Tensor> out;
  for (std::size_t i = 0; i < qs.size(); ++i) {
    one.starts = {pass.starts[i]};
    if (!pass.table_rows.empty()) one.table_rows = {pass.table_rows[i]};
    if (pass.prefix_keys.defined()) {
      const auto row = static_cast<std::int64_t>(i);
      one.prefix_keys = pass.prefix_keys.narrow(0, row, 1);
      one.prefix_values = pass.prefix_values.narrow(0, row, 1);
    }
    out.push_back(attend_composed(qs[i], ks[i], vs[i], one));
  }
  return at::cat(out, 1);
}

/// q and k turned by one kernel each; what is left has no RoPE.
at::Tensor attend_turned(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const AttentionPass& pass) {
  static const RopeSpec no_rope{.kind = RopeKind::kNone};
  const auto turn = [&](const at::Tensor& x) {
    return fused::rotate(x, pass.spec->d_head, *pass.rope, pass.table, pass.positions);
  };
  AttentionPass rest = pass;
  rest.rope = &no_rope;
  return attend(turn(q), turn(k), v, rest);
}

bool is_plain(const AttentionSpec& spec) {
  return spec.softcap == 0 && spec.alibi.empty() && !spec.sinks;
}

/// Whether every query sees all keys up to its own: then a device needs no mask, and may take its
/// fastest kernel.
bool sees_all(const AttentionPass& pass, std::int64_t longest, std::int64_t tokens) {
  return longest == 0 && (pass.window == 0 || pass.window >= tokens) &&
         (pass.chunk == 0 || pass.chunk >= tokens);
}

}  // namespace

at::Tensor attend_composed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const AttentionPass& pass) {
  const AttentionSpec& spec = *pass.spec;
  const std::int64_t batch = q.size(0);
  const std::int64_t tokens = q.size(1);
  at::Tensor queries = q.reshape({batch, tokens, spec.heads, spec.d_head});
  at::Tensor keys = k.reshape({batch, tokens, spec.kv_heads, spec.d_head});
  at::Tensor values = v.reshape({batch, tokens, spec.kv_heads, spec.d_head}).transpose(1, 2);
  const at::Tensor starts = at::tensor(pass.starts, at::kLong).to(q.device());
  if (pass.rope->kind != RopeKind::kNone) {
    const at::Tensor rows = token_positions(pass.table_rows, {}, tokens).to(q.device());
    const at::Tensor cos = pass.table.cos.index({rows}).unsqueeze(2).to(q.scalar_type());
    const at::Tensor sin = pass.table.sin.index({rows}).unsqueeze(2).to(q.scalar_type());
    queries = rotate(queries, cos, sin, *pass.rope);
    keys = rotate(keys, cos, sin, *pass.rope);
  }
  queries = queries.transpose(1, 2);
  keys = keys.transpose(1, 2);
  if (pass.append_to != nullptr) pass.append_to->append(pass.layer, keys.detach(), values.detach());
  const std::int64_t longest =
      pass.prefix_keys.defined() ? *std::max_element(pass.starts.begin(), pass.starts.end()) : 0;
  if (longest > 0) {
    keys = at::cat({valid_prefix(pass.prefix_keys, starts, longest), keys}, 2);
    values = at::cat({valid_prefix(pass.prefix_values, starts, longest), values}, 2);
  }
  const bool all = sees_all(pass, longest, tokens);
  const at::Tensor position =
      all && is_plain(spec) ? at::Tensor() : key_positions(starts, longest, tokens);
  std::optional<at::Tensor> mask;
  if (position.defined()) mask = visible_keys(starts, position, tokens, pass);
  const at::Tensor out =
      is_plain(spec) ? at::scaled_dot_product_attention(queries, keys, values, mask, 0.0, !mask,
                                                        spec.scale, spec.heads != spec.kv_heads)
                     : attend_scored(queries, keys, values, *mask, position, pass);
  return out.transpose(1, 2).reshape({batch, tokens, spec.heads * spec.d_head});
}

std::int64_t first_seen(const AttentionPass& pass, std::int64_t position) {
  const std::int64_t by_window =
      pass.window > 0 ? std::max<std::int64_t>(0, position + 1 - pass.window) : 0;
  const std::int64_t by_chunk = pass.chunk > 0 ? position - position % pass.chunk : 0;
  return std::max(by_window, by_chunk);
}

at::Tensor token_positions(const std::vector<std::int64_t>& starts,
                           const std::vector<std::int64_t>& segments, std::int64_t tokens) {
  if (segments.empty())
    return at::tensor(starts, at::kLong).view({-1, 1}) + at::arange(tokens, at::kLong);
  std::vector<at::Tensor> parts;
  for (std::size_t i = 0; i < segments.size(); ++i)
    parts.push_back(at::arange(starts[i], starts[i] + segments[i], at::kLong));
  return at::cat(parts).unsqueeze(0);
}

at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const AttentionPass& pass) {
  const bool native = is_native(q) && is_plain(*pass.spec);
  if (native) return attend_native(q, k, v, pass);
  if (pass.positions.defined() && pass.rope->kind != RopeKind::kNone)
    return attend_turned(q, k, v, pass);
  return pass.segments.empty() ? attend_composed(q, k, v, pass) : attend_each(q, k, v, pass);
}

}  // namespace lancet
