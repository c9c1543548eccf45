#include "model/attention.h"

#include <algorithm>

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

/// True where query i of row b (position starts[b] + i) sees the key: [batch, 1, tokens, longest +
/// tokens]. The first `longest` keys are the prefix, valid up to starts[b]; then come the pass's
/// own.
at::Tensor visible_keys(const at::Tensor& starts, std::int64_t longest, std::int64_t tokens,
                        std::int64_t window) {
  const auto options = starts.options();
  const at::Tensor start = starts.view({-1, 1, 1});
  const at::Tensor query = start + at::arange(tokens, options).view({1, -1, 1});
  const at::Tensor slot = at::arange(longest, options).view({1, 1, -1});
  const at::Tensor prefix =
      at::where(slot < start, slot, at::full_like(slot, -1) - longest - tokens);
  const at::Tensor own = start + at::arange(tokens, options).view({1, 1, -1});
  const at::Tensor key = at::cat({prefix.expand({-1, 1, -1}), own}, 2);
  at::Tensor visible = at::logical_and(key >= 0, key <= query);
  if (window > 0) visible = at::logical_and(visible, key > query - window);
  return visible.unsqueeze(1);
}

/// The first `longest` slots of a cache, zero behind each row's start: they are masked, but a NaN
/// in them would survive 0 * NaN.
at::Tensor valid_prefix(const at::Tensor& cache, const at::Tensor& starts, std::int64_t longest) {
  const at::Tensor slot = at::arange(longest, starts.options()).view({1, 1, -1, 1});
  const at::Tensor part = cache.narrow(2, 0, longest);
  return at::where(slot < starts.view({-1, 1, 1, 1}), part, at::zeros({}, part.options()));
}

/// softmax(cap * tanh(scale q k^T / cap)) v with explicit scores; q [batch, kv_heads, group,
/// tokens, d].
at::Tensor attend_capped(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const at::Tensor& mask, const AttentionSpec& spec) {
  const at::Tensor scores = at::matmul(q, k.unsqueeze(2).transpose(-1, -2)) * spec.scale;
  const at::Tensor capped = at::tanh(scores / spec.softcap) * spec.softcap;
  const at::Tensor masked = capped.masked_fill(at::logical_not(mask.unsqueeze(2)), -1e30);
  return at::matmul(at::softmax(masked, -1, at::kFloat).to(v.scalar_type()), v.unsqueeze(2));
}

}  // namespace

at::Tensor attend_composed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const AttentionPass& pass) {
  const AttentionSpec& spec = *pass.spec;
  const std::int64_t batch = q.size(0);
  const std::int64_t tokens = q.size(1);
  at::Tensor queries = q.view({batch, tokens, spec.heads, spec.d_head});
  at::Tensor keys = k.view({batch, tokens, spec.kv_heads, spec.d_head});
  at::Tensor values = v.view({batch, tokens, spec.kv_heads, spec.d_head}).transpose(1, 2);
  const at::Tensor starts = at::tensor(pass.starts, at::kLong).to(q.device());
  if (pass.rope->kind != RopeKind::kNone) {
    const at::Tensor positions = starts.view({-1, 1}) + at::arange(tokens, starts.options());
    const at::Tensor cos = pass.table.cos.index({positions}).unsqueeze(2).to(q.scalar_type());
    const at::Tensor sin = pass.table.sin.index({positions}).unsqueeze(2).to(q.scalar_type());
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
  const at::Tensor mask = visible_keys(starts, longest, tokens, pass.window);
  at::Tensor out;
  if (spec.softcap > 0) {
    const at::Tensor grouped =
        queries.view({batch, spec.kv_heads, spec.heads / spec.kv_heads, tokens, spec.d_head});
    out = attend_capped(grouped, keys, values, mask, spec)
              .view({batch, spec.heads, tokens, spec.d_head});
  } else {
    out = at::scaled_dot_product_attention(queries, keys, values, mask, 0.0, false, spec.scale,
                                           spec.heads != spec.kv_heads);
  }
  return out.transpose(1, 2).reshape({batch, tokens, spec.heads * spec.d_head});
}

at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const AttentionPass& pass) {
  const bool native = is_native(q) && pass.spec->softcap == 0;
  return native ? attend_native(q, k, v, pass) : attend_composed(q, k, v, pass);
}

}  // namespace lancet
