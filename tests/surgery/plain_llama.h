#pragma once
// A tiny Llama in plain float64 on LibTorch's differentiable products: whole forward passes from
// the embeddings, one prompt at a time, no cache, no batch. Slow and obvious on purpose.

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "tests/surgery/tiny_edit.h"

namespace lancet::reference {

class PlainLlama {
 public:
  /// Weights by name, float64; a test may make some of them leaves, or replace them.
  std::map<std::string, at::Tensor> weights;
  /// What the down projections read and gave in the last pass, [tokens, d_ff] and [tokens,
  /// d_model].
  std::vector<at::Tensor> keys, outputs;

  explicit PlainLlama(const tiny_edit::Weights& values) {
    for (const auto& [name, shape] : tiny_edit::shapes())
      weights[name] = at::tensor(values.at(name), at::kFloat).to(at::kDouble).view(shape);
  }

  static std::string down(std::int64_t layer) {
    return "model.layers." + std::to_string(layer) + ".mlp.down_proj.weight";
  }

  /// Log probabilities [tokens, vocab].
  at::Tensor log_probs(const std::vector<std::int32_t>& ids) {
    keys.clear();
    outputs.clear();
    const at::Tensor index =
        at::tensor(std::vector<std::int64_t>(ids.begin(), ids.end()), at::kLong);
    at::Tensor x = weights.at("model.embed_tokens.weight").index_select(0, index);
    for (std::int64_t layer = 0; layer < tiny_edit::kLayers; ++layer) {
      const std::string at = "model.layers." + std::to_string(layer) + ".";
      x = x + attention(at, norm(at + "input_layernorm.weight", x));
      const at::Tensor h = norm(at + "post_attention_layernorm.weight", x);
      keys.push_back(at::silu(linear(at + "mlp.gate_proj.weight", h)) *
                     linear(at + "mlp.up_proj.weight", h));
      outputs.push_back(linear(at + "mlp.down_proj.weight", keys.back()));
      if (outputs.back().requires_grad()) outputs.back().retain_grad();
      x = x + outputs.back();
    }
    return at::log_softmax(linear("lm_head.weight", norm("model.norm.weight", x)), -1);
  }

 private:
  at::Tensor linear(const std::string& name, const at::Tensor& x) {
    return at::matmul(x, weights.at(name).t());
  }
  at::Tensor norm(const std::string& name, const at::Tensor& x) {
    return x / (x.square().mean(-1, true) + 1e-5).sqrt() * weights.at(name);
  }
  /// Rotates pairs (i, i + 4) of a head of 8, [tokens, 8].
  static at::Tensor rope(const at::Tensor& x) {
    constexpr std::int64_t kHalf = tiny_edit::kHeadDim / 2;
    const at::Tensor positions = at::arange(x.size(0), at::kDouble).unsqueeze(1);
    const at::Tensor angles =
        positions * at::pow(10000.0, -at::arange(kHalf, at::kDouble) / static_cast<double>(kHalf));
    const at::Tensor a = x.narrow(1, 0, kHalf), b = x.narrow(1, kHalf, kHalf);
    return at::cat({a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()}, 1);
  }
  at::Tensor attention(const std::string& at, const at::Tensor& h) {
    constexpr std::int64_t kDim = tiny_edit::kHeadDim;
    const at::Tensor q = linear(at + "self_attn.q_proj.weight", h),
                     k = linear(at + "self_attn.k_proj.weight", h),
                     v = linear(at + "self_attn.v_proj.weight", h);
    const at::Tensor future = at::ones({h.size(0), h.size(0)}, at::kDouble).triu(1).to(at::kBool);
    std::vector<at::Tensor> heads;
    for (std::int64_t head = 0; head < tiny_edit::kHeads; ++head) {
      const std::int64_t from = head / (tiny_edit::kHeads / tiny_edit::kKvHeads) * kDim;
      const at::Tensor scores =
          at::matmul(rope(q.narrow(1, head * kDim, kDim)), rope(k.narrow(1, from, kDim)).t()) /
          std::sqrt(static_cast<double>(kDim));
      heads.push_back(
          at::matmul(at::softmax(scores.masked_fill(future, -1e300), -1), v.narrow(1, from, kDim)));
    }
    return linear(at + "self_attn.o_proj.weight", at::cat(heads, 1));
  }
};

}  // namespace lancet::reference
