#pragma once
// RoPE on the queries and keys of a pass, for attention_native.cpp: float32 on the CPU.

#include <cstdint>

#include <ATen/ATen.h>

#include "model/attention.h"

namespace lancet {

struct AttentionShape {
  std::int64_t batch, tokens, heads, kv_heads, group, d;
};
[[nodiscard]] AttentionShape shape_of(const at::Tensor& q, const AttentionSpec& spec);

/// Position of token t of row b.
[[nodiscard]] std::int64_t position_of(const AttentionPass& pass, std::int64_t b, std::int64_t t);

/// q [batch, tokens, heads, d] turned and scaled, as [batch, kv_heads, tokens, group, d].
[[nodiscard]] at::Tensor turn_queries(const at::Tensor& q, const AttentionShape& s,
                                      const AttentionPass& pass);
/// The gradient of q from that of turn_queries' result.
[[nodiscard]] at::Tensor turn_queries_back(const at::Tensor& d_q, const AttentionShape& s,
                                           const AttentionPass& pass);
/// k turned, or its gradient turned back; [batch, tokens, kv_heads * d].
[[nodiscard]] at::Tensor turn_keys(const at::Tensor& k, const AttentionShape& s,
                                   const AttentionPass& pass, bool back);

}  // namespace lancet
