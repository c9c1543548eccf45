#pragma once
// RoPE on the queries and keys of a pass, for attention_native.cpp: float32 on the CPU.

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "model/attention.h"

namespace lancet {

/// One text of a pass: a row of the batch, or a segment of the only one.
struct AttentionText {
  std::int64_t begin, tokens;  ///< of all tokens of the pass, row after row
};

struct AttentionShape {
  std::int64_t batch, tokens, heads, kv_heads, group, d;
  std::vector<AttentionText> texts;

  [[nodiscard]] std::int64_t count() const { return static_cast<std::int64_t>(texts.size()); }
  [[nodiscard]] const AttentionText& text(std::int64_t b) const {
    return texts[static_cast<std::size_t>(b)];
  }
};
[[nodiscard]] AttentionShape shape_of(const at::Tensor& q, const AttentionPass& pass);

/// Position of token t of text b.
[[nodiscard]] std::int64_t position_of(const AttentionPass& pass, std::int64_t b, std::int64_t t);

/// q [batch, tokens, heads, d] turned and scaled, each text as [kv_heads, tokens, group, d].
[[nodiscard]] at::Tensor turn_queries(const at::Tensor& q, const AttentionShape& s,
                                      const AttentionPass& pass);
/// The gradient of q from that of turn_queries' result.
[[nodiscard]] at::Tensor turn_queries_back(const at::Tensor& d_q, const AttentionShape& s,
                                           const AttentionPass& pass);
/// k turned, or its gradient turned back; [batch, tokens, kv_heads * d].
[[nodiscard]] at::Tensor turn_keys(const at::Tensor& k, const AttentionShape& s,
                                   const AttentionPass& pass, bool back);

}  // namespace lancet
