// The recurrence of a state space: by LibTorch's operators where gradients are asked for, else in
// one loop that holds no states but the last.

#include <algorithm>
#include <vector>

#include <c10/core/GradMode.h>

#include "model/intraop.h"
#include "model/ssm.h"

namespace lancet {
namespace {

constexpr std::int64_t kChunkElements = 1 << 21;  ///< of the states of a chunk of tokens
constexpr std::int64_t kGrain = 1 << 14;          ///< steps of one state that one thread takes

/// b or c [batch, tokens, groups, d_state] for each head: [batch, tokens, heads, 1, d_state].
at::Tensor by_head(const at::Tensor& x, std::int64_t heads) {
  const std::int64_t each = heads / x.size(2);
  return x.unsqueeze(3)
      .expand({-1, -1, -1, each, -1})
      .reshape({x.size(0), x.size(1), heads, 1, x.size(3)});
}

/// Plain pointers and sizes of one chunk of tokens.
struct Loop {
  std::int64_t tokens, heads, d_head, groups, d_state, decays;
  const float *x, *dt, *decay, *b, *c;
  float *state, *y;

  /// One head of one row through all tokens of the chunk: h = decay h + (dt x) b, y = h c.
  void run(std::int64_t row, std::int64_t head) const {
    const std::int64_t group = head / (heads / groups);
    float* const h = state + (row * heads + head) * d_head * d_state;
    for (std::int64_t t = 0; t < tokens; ++t) {
      const std::int64_t token = row * tokens + t;
      const float* const fade = decay + (token * heads + head) * decays;
      const float* const in = b + (token * groups + group) * d_state;
      const float* const out = c + (token * groups + group) * d_state;
      const float step = dt[token * heads + head];
      for (std::int64_t p = 0; p < d_head; ++p) {
        const std::int64_t at = (token * heads + head) * d_head + p;
        y[at] = advance(h + p * d_state, fade, step * x[at], in, out);
      }
    }
  }

  /// The state of one dimension; returns what is read of it. Eight sums, so that the loop is one of
  /// vectors.
  float advance(float* h, const float* fade, float scale, const float* in, const float* out) const {
    float sums[8] = {};
    std::int64_t k = 0;
    for (; k + 8 <= d_state; k += 8) {
      for (std::int64_t i = 0; i < 8; ++i) {
        float& own = h[k + i];
        own = own * fade[decays == 1 ? 0 : k + i] + scale * in[k + i];
        sums[i] += own * out[k + i];
      }
    }
    for (; k < d_state; ++k) {
      h[k] = h[k] * fade[decays == 1 ? 0 : k] + scale * in[k];
      sums[k % 8] += h[k] * out[k];
    }
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) +
           ((sums[4] + sums[5]) + (sums[6] + sums[7]));
  }
};

/// Tokens whose states, or whose decays, exist at once.
std::int64_t tokens_at_once(const at::Tensor& state) {
  return std::max<std::int64_t>(1, kChunkElements / state.numel());
}

at::Tensor scan_native(const at::Tensor& x, const at::Tensor& dt, const at::Tensor& a,
                       const at::Tensor& b, const at::Tensor& c, at::Tensor& state) {
  state = state.clone(at::MemoryFormat::Contiguous);
  const std::int64_t tokens = x.size(1), heads = x.size(2), batch = x.size(0);
  std::vector<at::Tensor> out;
  for (std::int64_t first = 0; first < tokens; first += tokens_at_once(state)) {
    const std::int64_t count = std::min(tokens_at_once(state), tokens - first);
    const auto part = [&](const at::Tensor& each) {
      return each.narrow(1, first, count).contiguous();
    };
    const at::Tensor own_x = part(x), own_dt = part(dt), own_b = part(b), own_c = part(c);
    const at::Tensor decay = at::exp(own_dt.unsqueeze(-1) * a).contiguous();
    out.push_back(at::empty_like(own_x));
    const Loop loop{.tokens = count,
                    .heads = heads,
                    .d_head = x.size(3),
                    .groups = b.size(2),
                    .d_state = state.size(3),
                    .decays = a.size(1),
                    .x = own_x.const_data_ptr<float>(),
                    .dt = own_dt.const_data_ptr<float>(),
                    .decay = decay.const_data_ptr<float>(),
                    .b = own_b.const_data_ptr<float>(),
                    .c = own_c.const_data_ptr<float>(),
                    .state = state.mutable_data_ptr<float>(),
                    .y = out.back().mutable_data_ptr<float>()};
    const std::int64_t work = std::max<std::int64_t>(1, count * loop.d_head * loop.d_state);
    intraop_chunks(batch * heads, kGrain / work + 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) loop.run(i / heads, i % heads);
    });
  }
  return out.size() == 1 ? out[0] : at::cat(out, 1);
}

}  // namespace

at::Tensor scan_composed(const at::Tensor& x, const at::Tensor& dt, const at::Tensor& a,
                         const at::Tensor& b, const at::Tensor& c, at::Tensor& state) {
  const std::int64_t tokens = x.size(1);
  const std::int64_t heads = x.size(2);
  const std::int64_t at_once = tokens_at_once(state);
  std::vector<at::Tensor> out;
  for (std::int64_t first = 0; first < tokens; first += at_once) {
    const std::int64_t count = std::min(at_once, tokens - first);
    const auto part = [&](const at::Tensor& each) { return each.narrow(1, first, count); };
    const at::Tensor step = part(dt).unsqueeze(-1);  // [batch, count, heads, 1]
    const at::Tensor decay = at::exp(step * a).unsqueeze(3);
    const at::Tensor added = (part(x) * step).unsqueeze(-1) * by_head(part(b), heads);
    std::vector<at::Tensor> states;
    for (std::int64_t t = 0; t < count; ++t) {
      state = at::addcmul(added.select(1, t), state, decay.select(1, t));
      states.push_back(state);
    }
    out.push_back((at::stack(states, 1) * by_head(part(c), heads)).sum(-1));
  }
  return out.size() == 1 ? out[0] : at::cat(out, 1);
}

at::Tensor selective_scan(const at::Tensor& x, const at::Tensor& dt, const at::Tensor& a,
                          const at::Tensor& b, const at::Tensor& c, at::Tensor& state) {
  const auto wants = [](const at::Tensor& each) { return each.requires_grad(); };
  const bool grad = c10::GradMode::is_enabled() &&
                    (wants(x) || wants(dt) || wants(a) || wants(b) || wants(c) || wants(state));
  const bool native = is_native(x) && !grad && x.numel() > 0;
  return native ? scan_native(x, dt, a, b, c, state) : scan_composed(x, dt, a, b, c, state);
}

}  // namespace lancet
