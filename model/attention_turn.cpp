#include "model/attention_turn.h"

#include <algorithm>
#include <functional>
#include <vector>

#include "model/intraop.h"
#include "model/kernels/elementwise.h"

namespace lancet {
namespace {

/// Turns `heads` vectors [d] of a text's token, which lie together, by RoPE, in place; `back`
/// undoes it.
void turn(float* x, std::int64_t heads, const AttentionPass& pass, std::int64_t text,
          std::int64_t token, bool back) {
  const RopeSpec& rope = *pass.rope;
  if (rope.kind == RopeKind::kNone) return;
  const std::int64_t half = rope.dims / 2;
  const std::int64_t row = pass.table_rows[static_cast<std::size_t>(text)] + token;
  const float* cos = pass.table.cos.const_data_ptr<float>() + row * half;
  const float* sin = pass.table.sin.const_data_ptr<float>() + row * half;
  thread_local std::vector<float> negative;
  if (back) {
    negative.assign(sin, sin + half);
    for (float& value : negative) value = -value;
    sin = negative.data();
  }
  if (!rope.interleaved) {
    kernels::rope_half(x, pass.spec->d_head, heads, cos, sin, rope.dims);
    return;
  }
  for (std::int64_t h = 0; h < heads; ++h, x += pass.spec->d_head) {
    for (std::int64_t i = 0; i < half; ++i) {
      const float a = x[2 * i];
      const float b = x[2 * i + 1];
      x[2 * i] = a * cos[i] - b * sin[i];
      x[2 * i + 1] = b * cos[i] + a * sin[i];
    }
  }
}

/// body(b, t) for every token t of every text b.
void for_tokens(const AttentionShape& s,
                const std::function<void(std::int64_t b, std::int64_t t)>& body) {
  intraop_chunks(s.batch * s.tokens, 64, [&](std::int64_t begin, std::int64_t end) {
    auto text = std::ranges::upper_bound(s.texts, begin, {}, &AttentionText::begin) - 1;
    for (std::int64_t i = begin; i < end; ++i) {
      if (i == text->begin + text->tokens) ++text;
      body(text - s.texts.begin(), i - text->begin);
    }
  });
}

}  // namespace

AttentionShape shape_of(const at::Tensor& q, const AttentionPass& pass) {
  const AttentionSpec& spec = *pass.spec;
  AttentionShape s{q.size(0),   q.size(1), spec.heads, spec.kv_heads, spec.heads / spec.kv_heads,
                   spec.d_head, {}};
  const auto add = [&](std::int64_t tokens) {
    const std::int64_t begin = s.texts.empty() ? 0 : s.texts.back().begin + s.texts.back().tokens;
    s.texts.push_back({begin, tokens});
  };
  for (const std::int64_t length : pass.segments) add(length);
  for (std::int64_t b = 0; pass.segments.empty() && b < s.batch; ++b) add(s.tokens);
  return s;
}

std::int64_t position_of(const AttentionPass& pass, std::int64_t b, std::int64_t t) {
  return pass.starts[static_cast<std::size_t>(b)] + t;
}

at::Tensor turn_queries(const at::Tensor& q, const AttentionShape& s, const AttentionPass& pass) {
  at::Tensor out = at::empty(q.sizes(), q.options());
  const auto* x = q.const_data_ptr<float>();
  auto* y = out.mutable_data_ptr<float>();
  const auto scale = static_cast<float>(pass.spec->scale);
  const std::int64_t width = s.group * s.d;
  for_tokens(s, [&, x, y](std::int64_t b, std::int64_t t) {
    for (std::int64_t g = 0; g < s.kv_heads; ++g) {
      const AttentionText& text = s.text(b);
      const float* from = x + ((text.begin + t) * s.kv_heads + g) * width;
      float* to = y + (text.begin * s.kv_heads + g * text.tokens + t) * width;
      for (std::int64_t i = 0; i < width; ++i) to[i] = from[i] * scale;
      turn(to, s.group, pass, b, t, false);
    }
  });
  return out;
}

at::Tensor turn_queries_back(const at::Tensor& d_q, const AttentionShape& s,
                             const AttentionPass& pass) {
  at::Tensor out = at::empty({s.batch, s.tokens, s.heads * s.d}, d_q.options());
  const auto* x = d_q.const_data_ptr<float>();
  auto* y = out.mutable_data_ptr<float>();
  const auto scale = static_cast<float>(pass.spec->scale);
  const std::int64_t width = s.group * s.d;
  for_tokens(s, [&, x, y](std::int64_t b, std::int64_t t) {
    for (std::int64_t g = 0; g < s.kv_heads; ++g) {
      const AttentionText& text = s.text(b);
      const float* from = x + (text.begin * s.kv_heads + g * text.tokens + t) * width;
      float* to = y + ((text.begin + t) * s.kv_heads + g) * width;
      std::copy_n(from, width, to);
      turn(to, s.group, pass, b, t, true);
      for (std::int64_t i = 0; i < width; ++i) to[i] *= scale;
    }
  });
  return out;
}

at::Tensor turn_keys(const at::Tensor& k, const AttentionShape& s, const AttentionPass& pass,
                     bool back) {
  at::Tensor out = at::empty({s.batch, s.tokens, s.kv_heads * s.d}, k.options());
  const auto* x = k.const_data_ptr<float>();
  auto* y = out.mutable_data_ptr<float>();
  const std::int64_t width = s.kv_heads * s.d;
  for_tokens(s, [&, x, y](std::int64_t b, std::int64_t t) {
    const std::int64_t at = (s.text(b).begin + t) * width;
    std::copy_n(x + at, width, y + at);
    turn(y + at, s.kv_heads, pass, b, t, back);
  });
  return out;
}

}  // namespace lancet
