#pragma once
// Causal attention over a ragged prefix (the cache) and the tokens of this pass, with RoPE applied
// first. Keys and values of grouped heads are never repeated. Differentiable with respect to q, k
// and v; the cache is constant.

#include <vector>

#include <ATen/ATen.h>

#include "model/kv_cache.h"
#include "model/rope.h"
#include "model/spec.h"

namespace lancet {

/// What one layer's attention needs beside q, k and v.
struct AttentionPass {
  const AttentionSpec* spec = nullptr;
  const RopeSpec* rope = nullptr;
  RopeTable table;
  std::vector<std::int64_t> table_rows;  ///< row of the table for each text's first token
  std::int64_t window = 0;               ///< as in LayerSpec
  std::int64_t chunk = 0;                ///< as in LayerSpec
  at::Tensor sinks;                      ///< float32 [heads] where the spec has them
  std::vector<std::int64_t>
      starts;  ///< position of each text's first token = tokens of it in the cache
  std::vector<std::int64_t> segments;  ///< as in Pass: the texts are not rows then
  /// Rows of the table, int64 [rows, tokens], on the device where fused kernels turn q and k
  /// (model/cuda); else undefined.
  at::Tensor positions = {};
  at::Tensor prefix_keys, prefix_values;  ///< [texts, kv_heads, capacity, d_head], valid up to
                                          ///< starts[b]; undefined = none

  // Where k (rotated) and v are appended; null = nowhere. The prefix is then this cache's own.
  KvCache* append_to = nullptr;
  std::int64_t layer = 0;
};

/// First position that the query at `position` sees.
[[nodiscard]] std::int64_t first_seen(const AttentionPass& pass, std::int64_t position);

/// Positions of a pass's tokens: int64 [rows, tokens].
[[nodiscard]] at::Tensor token_positions(const std::vector<std::int64_t>& starts,
                                         const std::vector<std::int64_t>& segments,
                                         std::int64_t tokens);

/// q [batch, tokens, heads * d_head], k and v [batch, tokens, kv_heads * d_head] -> as q.
/// Query i of text b (a row, or a segment where there are segments) sees the keys of its own text
/// up to position starts[b] + i.
[[nodiscard]] at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                const AttentionPass& pass);

/// The two forms of `attend`: our kernels (float32 on the CPU; no softcap, ALiBi or sinks), and
/// LibTorch's operators.
[[nodiscard]] at::Tensor attend_native(const at::Tensor& q, const at::Tensor& k,
                                       const at::Tensor& v, const AttentionPass& pass);
[[nodiscard]] at::Tensor attend_composed(const at::Tensor& q, const at::Tensor& k,
                                         const at::Tensor& v, const AttentionPass& pass);

}  // namespace lancet
