// attend() by our own kernels. One task = one text and key/value head: its queries, `group` heads
// of every token, times the scale, are the rows of the two products Q K^T and P V. V is read as it
// lies, K (backwards V, too) turned once for a task: a sum over the few elements of a head is one
// chain then, and no block of queries packs it again. The backward pass computes the probabilities
// again rather than keep them:
//   dP = dO V^T,  dS = P * (dP - rowsum(P * dP)),  dQ = dS K,  dK = dS^T Q,  dV = P^T dO.

#include <algorithm>

#include <torch/csrc/autograd/custom_function.h>

#include "model/attention.h"
#include "model/attention_turn.h"
#include "model/intraop.h"
#include "model/kernels/elementwise.h"
#include "model/kernels/gemm.h"

namespace lancet {
namespace {

/// A matrix [rows, d] with its row stride.
struct Rows {
  const float* data;
  std::int64_t stride;
};

template <class Job>
void run_all(const Job& job) {
  const std::int64_t tiles = kernels::tile_count(job);
  for (std::int64_t i = 0; i < tiles; ++i) kernels::run_tile(job, i);
}

/// c[m, d] (+)= a[m, n] w[n, d]
void times(const float* a, std::int64_t lda, std::int64_t m, Rows w, std::int64_t n, std::int64_t d,
           float* c, std::int64_t ldc, bool accumulate) {
  run_all(kernels::InputGradJob{a, lda, w.data, kernels::WeightType::kF32, w.stride, c, ldc, m, n,
                                d, accumulate, 1});
}

/// Reused by the tasks of a thread; grows to the largest task it has seen.
struct Scratch {
  std::vector<float> scores, gradient, turned, keys, values, rows, turned_keys, turned_values;
};

Scratch& scratch() {
  thread_local Scratch buffers;
  return buffers;
}

float* sized(std::vector<float>& buffer, std::int64_t count) {
  if (static_cast<std::int64_t>(buffer.size()) < count)
    buffer.resize(static_cast<std::size_t>(count));
  return buffer.data();
}

/// The transpose of from[rows, columns], its rows `stride` apart. A few rows at a time, so that
/// both sides are touched a cache line at a time.
void transpose(Rows from, std::int64_t rows, std::int64_t columns, float* to, std::int64_t stride) {
  constexpr std::int64_t kBlock = 16;
  for (std::int64_t first = 0; first < rows; first += kBlock) {
    const std::int64_t count = std::min(kBlock, rows - first);
    for (std::int64_t c = 0; c < columns; ++c) {
      const float* const x = from.data + first * from.stride + c;
      float* const y = to + c * stride + first;
      for (std::int64_t r = 0; r < count; ++r) y[r] = x[r * from.stride];
    }
  }
}

/// [d, rows] of x [rows, d]; the row stride is no power of two.
Rows turned(Rows x, std::int64_t rows, std::int64_t d, std::vector<float>& buffer) {
  const std::int64_t stride = (rows + 15) / 16 * 16 + 16;
  float* const to = sized(buffer, d * stride);
  transpose(x, rows, d, to, stride);
  return {to, stride};
}

/// Keys and values of one task: positions [0, start + tokens), in place where they already lie
/// together.
struct Context {
  Rows keys, values;
};

Rows gather(const at::Tensor& prefix, const float* own, const AttentionShape& s, std::int64_t b,
            std::int64_t g, std::int64_t start, std::vector<float>& buffer) {
  const std::int64_t tokens = s.text(b).tokens;
  float* to = sized(buffer, (start + tokens) * s.d);
  const auto* from = prefix.const_data_ptr<float>() + b * prefix.stride(0) + g * prefix.stride(1);
  std::copy_n(from, start * s.d, to);
  for (std::int64_t t = 0; t < tokens; ++t) {
    std::copy_n(own + t * s.kv_heads * s.d, s.d, to + (start + t) * s.d);
  }
  return {to, s.d};
}

/// k (turned) and v: [batch, tokens, kv_heads, d].
Context context_of(const at::Tensor& k, const at::Tensor& v, const AttentionShape& s,
                   const AttentionPass& pass, std::int64_t b, std::int64_t g) {
  const std::int64_t offset = (s.text(b).begin * s.kv_heads + g) * s.d;
  const float* own_k = k.const_data_ptr<float>() + offset;
  const float* own_v = v.const_data_ptr<float>() + offset;
  const std::int64_t start = position_of(pass, b, 0);
  if (start == 0) return {{own_k, s.kv_heads * s.d}, {own_v, s.kv_heads * s.d}};
  if (pass.append_to != nullptr) {
    const auto in_cache = [&](const at::Tensor& all) {
      return Rows{all.const_data_ptr<float>() + b * all.stride(0) + g * all.stride(1), s.d};
    };
    return {in_cache(pass.append_to->keys(pass.layer)),
            in_cache(pass.append_to->values(pass.layer))};
  }
  return {gather(pass.prefix_keys, own_k, s, b, g, start, scratch().keys),
          gather(pass.prefix_values, own_v, s, b, g, start, scratch().values)};
}

/// Query rows handled together: their scores stay within about a megabyte.
std::int64_t block_rows(std::int64_t keys) {
  return std::clamp<std::int64_t>(262144 / keys, 8, 96);
}

/// Keys [first, second) that query row `row` of a task sees.
std::pair<std::int64_t, std::int64_t> seen(std::int64_t row, std::int64_t start,
                                           const AttentionShape& s, const AttentionPass& pass) {
  const std::int64_t position = start + row / s.group;
  return {first_seen(pass, position), position + 1};
}

/// scores[0, keys) become softmax over [begin, end) and zero elsewhere.
void softmax_seen(float* scores, std::int64_t begin, std::int64_t end, std::int64_t keys) {
  kernels::softmax_row(scores + begin, scores + begin, end - begin);
  std::fill(scores, scores + begin, 0.0F);
  std::fill(scores + end, scores + keys, 0.0F);
}

/// Where the queries of a task begin.
std::int64_t queries_at(const AttentionShape& s, std::int64_t b, std::int64_t g) {
  return (s.text(b).begin * s.kv_heads + g * s.text(b).tokens) * s.group * s.d;
}

/// Token `t` of a task: no products of matrices.
void forward_token(const float* q, const Context& context, const AttentionShape& s,
                   const AttentionPass& pass, std::int64_t b, std::int64_t g, std::int64_t t,
                   float* out) {
  const auto [begin, end] = seen(t * s.group, position_of(pass, b, 0), s, pass);
  kernels::decode_attention({.q = q + t * s.group * s.d,
                             .q_stride = s.d,
                             .k = context.keys.data + begin * context.keys.stride,
                             .k_stride = context.keys.stride,
                             .v = context.values.data + begin * context.values.stride,
                             .v_stride = context.values.stride,
                             .out = out + ((s.text(b).begin + t) * s.heads + g * s.group) * s.d,
                             .out_stride = s.d,
                             .scores = sized(scratch().scores, s.group * (end - begin)),
                             .queries = s.group,
                             .tokens = end - begin,
                             .d_head = s.d,
                             .scale = 1});
}

/// Each token of a task, with the bits of one that comes alone.
void forward_tokens(const float* q, const Context& context, const AttentionShape& s,
                    const AttentionPass& pass, std::int64_t b, std::int64_t g, float* out) {
  for (std::int64_t t = 0; t < s.text(b).tokens; ++t)
    forward_token(q, context, s, pass, b, g, t, out);
}

/// Forward of one task. q: [tokens * group, d] of the task; out: [batch, tokens, heads, d].
void forward_task(const float* q, const Context& context, const AttentionShape& s,
                  const AttentionPass& pass, std::int64_t b, std::int64_t g, float* out) {
  const std::int64_t start = position_of(pass, b, 0);
  const AttentionText& text = s.text(b);
  const std::int64_t rows = text.tokens * s.group;
  const std::int64_t block = block_rows(start + text.tokens);
  const Rows keys_turned = turned(context.keys, start + text.tokens, s.d, scratch().turned_keys);
  for (std::int64_t first = 0; first < rows; first += block) {
    const std::int64_t m = std::min(block, rows - first);
    const std::int64_t keys = seen(first + m - 1, start, s, pass).second;
    float* scores = sized(scratch().scores, m * keys);
    float* result = sized(scratch().rows, m * s.d);
    times(q + first * s.d, s.d, m, keys_turned, s.d, keys, scores, keys, false);
    for (std::int64_t r = 0; r < m; ++r) {
      const auto [begin, end] = seen(first + r, start, s, pass);
      softmax_seen(scores + r * keys, begin, end, keys);
    }
    times(scores, keys, m, context.values, keys, s.d, result, s.d, false);
    for (std::int64_t r = 0; r < m; ++r) {
      const std::int64_t t = (first + r) / s.group;
      const std::int64_t h = g * s.group + (first + r) % s.group;
      std::copy_n(result + r * s.d, s.d, out + ((text.begin + t) * s.heads + h) * s.d);
    }
  }
}

at::Tensor forward_all(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                       const AttentionShape& s, const AttentionPass& pass) {
  at::Tensor out = at::empty({s.batch, s.tokens, s.heads * s.d}, q.options());
  const auto* queries = q.const_data_ptr<float>();
  auto* to = out.mutable_data_ptr<float>();
  intraop_for(s.count() * s.kv_heads, [&](std::int64_t task) {
    const std::int64_t b = task / s.kv_heads;
    const std::int64_t g = task % s.kv_heads;
    const Context context = context_of(k, v, s, pass, b, g);
    const std::int64_t tokens = s.text(b).tokens;
    const bool decoding = pass.append_to != nullptr && position_of(pass, b, 0) > 0;
    const bool few = tokens == 1 || (decoding && tokens <= kFewTokens);
    (few ? forward_tokens : forward_task)(queries + queries_at(s, b, g), context, s, pass, b, g,
                                          to);
  });
  return out;
}

/// Pointers of one task's gradients. d_q in the order of q; d_k, d_v [tokens, kv_heads, d] of text
/// b and head g, zero at first; d_out as `out` of forward_task.
struct TaskGradients {
  const float* d_out;
  float *d_q, *d_k, *d_v;
};

void backward_task(const float* q, const Context& context, const AttentionShape& s,
                   const AttentionPass& pass, std::int64_t b, std::int64_t g,
                   const TaskGradients& grad) {
  const std::int64_t start = position_of(pass, b, 0);
  const AttentionText& text = s.text(b);
  const std::int64_t rows = text.tokens * s.group;
  const std::int64_t total = start + text.tokens;
  const std::int64_t block = block_rows(total);
  const Rows keys_turned = turned(context.keys, total, s.d, scratch().turned_keys);
  const Rows values_turned = turned(context.values, total, s.d, scratch().turned_values);
  for (std::int64_t first = 0; first < rows; first += block) {
    const std::int64_t m = std::min(block, rows - first);
    const std::int64_t keys = seen(first + m - 1, start, s, pass).second;
    const std::int64_t own = keys - start;
    float* p = sized(scratch().scores, m * keys);
    float* ds = sized(scratch().gradient, m * keys);
    float* by_key = sized(scratch().turned, m * keys);
    float* d_rows = sized(scratch().rows, m * s.d);
    for (std::int64_t r = 0; r < m; ++r) {
      const std::int64_t t = (first + r) / s.group;
      const std::int64_t h = g * s.group + (first + r) % s.group;
      std::copy_n(grad.d_out + ((text.begin + t) * s.heads + h) * s.d, s.d, d_rows + r * s.d);
    }
    const float* q_rows = q + first * s.d;
    times(q_rows, s.d, m, keys_turned, s.d, keys, p, keys, false);
    times(d_rows, s.d, m, values_turned, s.d, keys, ds, keys, false);
    for (std::int64_t r = 0; r < m; ++r) {
      const auto [begin, end] = seen(first + r, start, s, pass);
      softmax_seen(p + r * keys, begin, end, keys);
      kernels::softmax_backward(p + r * keys, ds + r * keys, keys);
    }
    times(ds, keys, m, context.keys, keys, s.d, grad.d_q + first * s.d, s.d, false);
    transpose({ds + start, keys}, m, own, by_key, m);
    times(by_key, m, own, {q_rows, s.d}, m, s.d, grad.d_k, s.kv_heads * s.d, true);
    transpose({p + start, keys}, m, own, by_key, m);
    times(by_key, m, own, {d_rows, s.d}, m, s.d, grad.d_v, s.kv_heads * s.d, true);
  }
}

/// What the backward pass keeps beside tensors; the specs belong to the model, which outlives the
/// graph's use of it through the copies here.
struct Kept : torch::CustomClassHolder {
  AttentionPass pass;
  AttentionSpec spec;
  RopeSpec rope;
};

struct AttendFunction : torch::autograd::Function<AttendFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& q,
                            const at::Tensor& k, const at::Tensor& v, const AttentionPass& pass) {
    const at::AutoDispatchBelowAutograd below;
    const AttentionShape s = shape_of(q, pass);
    const at::Tensor turned_q = turn_queries(q, s, pass);
    const at::Tensor turned_k = turn_keys(k, s, pass, false);
    auto kept = c10::make_intrusive<Kept>();
    kept->pass = pass;
    kept->pass.append_to = nullptr;
    kept->spec = *pass.spec;
    kept->rope = *pass.rope;
    kept->pass.spec = &kept->spec;
    kept->pass.rope = &kept->rope;
    at::Tensor out = forward_all(turned_q, turned_k, v, s, kept->pass);
    ctx->save_for_backward({turned_q, turned_k, v});
    ctx->saved_data["kept"] = c10::IValue::make_capsule(std::move(kept));
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    const at::AutoDispatchBelowAutograd below;
    const auto saved = ctx->get_saved_variables();
    const auto capsule = ctx->saved_data["kept"].toCapsule();
    const AttentionPass& pass = static_cast<const Kept&>(*capsule).pass;
    const at::Tensor d_out = grads[0].contiguous();
    const AttentionShape s = shape_of(d_out, pass);
    const at::Tensor d_q = at::empty_like(saved[0]);
    const at::Tensor d_k = at::zeros_like(saved[1]);
    const at::Tensor d_v = at::zeros_like(saved[2]);
    const auto* q = saved[0].const_data_ptr<float>();
    const TaskGradients all{d_out.const_data_ptr<float>(), d_q.mutable_data_ptr<float>(),
                            d_k.mutable_data_ptr<float>(), d_v.mutable_data_ptr<float>()};
    intraop_for(s.count() * s.kv_heads, [&](std::int64_t task) {
      const std::int64_t b = task / s.kv_heads;
      const std::int64_t g = task % s.kv_heads;
      const std::int64_t own = (s.text(b).begin * s.kv_heads + g) * s.d;
      const std::int64_t queries = queries_at(s, b, g);
      const Context context = context_of(saved[1], saved[2], s, pass, b, g);
      backward_task(q + queries, context, s, pass, b, g,
                    {all.d_out, all.d_q + queries, all.d_k + own, all.d_v + own});
    });
    return {turn_queries_back(d_q, s, pass), turn_keys(d_k, s, pass, true),
            d_v.view({s.batch, s.tokens, s.kv_heads * s.d}), at::Tensor()};
  }
};

}  // namespace

at::Tensor attend_native(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const AttentionPass& pass) {
  const at::Tensor queries = q.contiguous();
  const at::Tensor keys = k.contiguous();
  const at::Tensor values = v.contiguous();
  const AttentionShape s = shape_of(q, pass);
  const bool grad =
      at::GradMode::is_enabled() && (q.requires_grad() || k.requires_grad() || v.requires_grad());
  const auto append = [&](const at::Tensor& turned_k) {
    const auto as_cache = [&](const at::Tensor& x) {
      return x.detach().view({s.batch, s.tokens, s.kv_heads, s.d}).transpose(1, 2);
    };
    if (pass.append_to != nullptr)
      pass.append_to->append(pass.layer, as_cache(turned_k), as_cache(values));
  };
  if (grad) {
    if (pass.append_to != nullptr) append(turn_keys(keys.detach(), s, pass, false));
    return AttendFunction::apply(queries, keys, values, pass);
  }
  const at::Tensor turned_k = turn_keys(keys, s, pass, false);
  append(turned_k);
  return forward_all(turn_queries(queries, s, pass), turned_k, values, s, pass);
}

}  // namespace lancet
