// From a block's input to queries, keys and values: fused layouts, latent vectors, clipping, norms.

#include <cmath>

#include "model/decoder_parts.h"

namespace lancet {
namespace {

/// q, k, v of one fused product [batch, tokens, (heads + 2 kv_heads) * d_head].
std::vector<at::Tensor> split_fused(const at::Tensor& fused, const AttentionSpec& spec) {
  const std::int64_t d = spec.d_head;
  if (spec.qkv == QkvLayout::kConcat) {
    return fused.split_with_sizes({spec.heads * d, spec.kv_heads * d, spec.kv_heads * d}, -1);
  }
  const std::int64_t group = spec.heads / spec.kv_heads;
  const at::Tensor grouped =
      fused.view({fused.size(0), fused.size(1), spec.kv_heads, group + 2, d});
  const auto part = [&](std::int64_t first, std::int64_t count) {
    return grouped.narrow(3, first, count).reshape({fused.size(0), fused.size(1), -1});
  };
  return {part(0, group), part(group, 1), part(group + 1, 1)};
}

/// The rotated dimensions of latent attention come last on disk; RoPE turns the first ones. A
/// product of q and k does not mind the order.
at::Tensor rotated_first(const at::Tensor& x, std::int64_t plain) {
  return at::cat({x.narrow(-1, plain, x.size(-1) - plain), x.narrow(-1, 0, plain)}, -1);
}

std::vector<at::Tensor> latent_inputs(const AttentionPart& part, const Derived& x,
                                      const AttentionSpec& spec) {
  const LatentSpec& mla = spec.mla;
  const std::int64_t batch = x.value.size(0);
  const std::int64_t tokens = x.value.size(1);
  const auto by_head = [&](const at::Tensor& y) { return y.view({batch, tokens, spec.heads, -1}); };
  const auto down = apply_linears(part.down, x);
  const at::Tensor q =
      mla.q_rank == 0 ? down[0] : apply_linear(part.q_up, apply_norm(part.q_latent_norm, down[0]));
  const at::Tensor latent = apply_norm(part.kv_latent_norm, down[1].narrow(-1, 0, mla.kv_rank));
  const at::Tensor k_rope = down[1].narrow(-1, mla.kv_rank, mla.d_rope).unsqueeze(2);
  const at::Tensor kv = by_head(apply_linear(part.kv_up, latent));
  const at::Tensor k =
      at::cat({k_rope.expand({-1, -1, spec.heads, -1}), kv.narrow(-1, 0, mla.d_plain)}, -1);
  // Values are narrower than keys; zeros behind them keep one width for the cache and the kernels.
  const at::Tensor v =
      at::constant_pad_nd(kv.narrow(-1, mla.d_plain, mla.d_value), {0, spec.d_head - mla.d_value});
  return {rotated_first(by_head(q), mla.d_plain).flatten(2), k.flatten(2), v.flatten(2)};
}

at::Tensor normed(const QkNorm& norm, const at::Tensor& x, const AttentionSpec& spec) {
  if (spec.qk_norm == QkNormWidth::kFull) return apply_norm(norm.norm, x);
  const at::Tensor heads = x.reshape({x.size(0), x.size(1), -1, spec.d_head});
  at::Tensor out = apply_norm(norm.norm, heads).view({x.size(0), x.size(1), -1});
  if (norm.each.defined()) out = out * norm.each;
  return norm.shift.defined() ? out + norm.shift : out;
}

/// 1 + scale * log(1 + floor((t + 1) / floor)) for the pass's positions: [batch, tokens, 1].
at::Tensor temperature(const AttentionPass& pass, const at::Tensor& like) {
  const at::Tensor position =
      token_positions(pass.starts, pass.segments, like.size(1)).to(like.device(), at::kFloat);
  const at::Tensor steps = at::floor((position + 1) / pass.spec->temperature_floor);
  return (at::log1p(steps) * pass.spec->temperature_scale + 1).unsqueeze(-1).to(like.scalar_type());
}

std::vector<at::Tensor> inputs(const AttentionPart& part, const Derived& x,
                               const AttentionSpec& spec) {
  if (spec.latent) return latent_inputs(part, x, spec);
  auto out = apply_linears(part.qkv, x);
  return spec.qkv == QkvLayout::kSeparate ? out : split_fused(out[0], spec);
}

}  // namespace

at::Tensor run_attention(const AttentionPart& part, const LayerSpec& layer, const Derived& x,
                         const AttentionPass& pass) {
  const AttentionSpec& spec = *pass.spec;
  auto qkv = inputs(part, x, spec);
  if (spec.clip > 0) {
    for (at::Tensor& each : qkv) each = each.clamp(-spec.clip, spec.clip);
  }
  if (spec.qk_norm != QkNormWidth::kNone && layer.qk_norm) {
    qkv[0] = normed(part.q_norm, qkv[0], spec);
    qkv[1] = normed(part.k_norm, qkv[1], spec);
  }
  if (layer.query_scale != 1) qkv[0] = qkv[0] * layer.query_scale;
  if (spec.temperature_scale != 0 && layer.rope < 0) qkv[0] = qkv[0] * temperature(pass, qkv[0]);
  at::Tensor out = attend(qkv[0], qkv[1], qkv[2], pass);
  if (!spec.latent || spec.mla.d_value == spec.d_head) return out;
  return out.view({x.value.size(0), x.value.size(1), spec.heads, spec.d_head})
      .narrow(-1, 0, spec.mla.d_value)
      .flatten(2);
}

}  // namespace lancet
