#pragma once
// Causal tracing the slow obvious way: one full forward pass of all rows for each cell.

#include "surgery/locate/trace.h"

namespace lancet::reference {

struct States {
  std::vector<at::Tensor> block, mlp, attention;  ///< outputs per layer [rows, tokens, d_model]
};

inline States record(const Decoder& model, const at::Tensor& embeddings) {
  States out;
  Pass pass;
  pass.hook = [&out](std::int64_t, Place place, const at::Tensor& value) {
    if (place == Place::kBlockOutput) out.block.push_back(value.clone());
    if (place == Place::kMlpOutput) out.mlp.push_back(value.clone());
    if (place == Place::kAttentionOutput) out.attention.push_back(value.clone());
    return value;
  };
  (void)model.run(embeddings, 0, model.spec().layers, pass);
  return out;
}

/// Mean over the corrupted rows of p(target), the product over its tokens, from whole logits.
inline double mean_probability(const Decoder& model, const at::Tensor& hidden,
                               const std::vector<TokenId>& target) {
  const at::Tensor log_p = at::log_softmax(model.head(hidden).to(at::kDouble), -1);
  double sum = 0;
  for (std::int64_t row = 1; row < hidden.size(0); ++row) {
    double own = 0;
    for (std::size_t i = 0; i < target.size(); ++i) {
      const auto at = hidden.size(1) - static_cast<std::int64_t>(target.size() - i);
      own += log_p[row][at][target[i]].item<double>();
    }
    sum += std::exp(own);
  }
  return sum / static_cast<double>(hidden.size(0) - 1);
}

/// Puts row 0's value at `token` into the corrupted rows (or, frozen, those rows' own earlier one).
inline at::Tensor put(const at::Tensor& value, const at::Tensor& stored, std::int64_t token,
                      bool clean) {
  at::Tensor out = value.clone();
  for (std::int64_t row = 1; row < value.size(0); ++row)
    out[row][token].copy_(stored[clean ? 0 : row][token]);
  return out;
}

inline double plain_cell(const Decoder& model, const LocatePrompt& prompt,
                         const at::Tensor& embeddings, const States& states, TraceKind kind,
                         std::int64_t token, std::int64_t layer, std::int64_t window) {
  const std::int64_t layers = model.spec().layers;
  const std::int64_t first = layer - window / 2, behind = first + window;
  Pass pass;
  pass.hook = [&](std::int64_t at, Place place, const at::Tensor& value) {
    const auto i = static_cast<std::size_t>(at);
    const bool state = kind != TraceKind::kMlp && kind != TraceKind::kAttention;
    if (state && place == Place::kBlockOutput && at == layer)
      return put(value, states.block[i], token, true);
    if (kind == TraceKind::kMlp && place == Place::kMlpOutput && at >= first && at < behind)
      return put(value, states.mlp[i], token, true);
    if (kind == TraceKind::kAttention && place == Place::kAttentionOutput && at >= first &&
        at < behind)
      return put(value, states.attention[i], token, true);
    if (kind == TraceKind::kSeveredMlp && place == Place::kMlpOutput && at > layer)
      return put(value, states.mlp[i], token, false);
    if (kind == TraceKind::kSeveredAttention && place == Place::kAttentionOutput && at > layer)
      return put(value, states.attention[i], token, false);
    return value;
  };
  return mean_probability(model, model.run(embeddings, 0, layers, pass), prompt.target);
}

/// float64 [tokens, layers].
inline at::Tensor plain_trace(const Decoder& model, const LocatePrompt& prompt,
                              const at::Tensor& embeddings, TraceKind kind, std::int64_t window) {
  c10::AutoGradMode no_gradient(false);
  const States states = record(model, embeddings);
  const std::int64_t layers = model.spec().layers;
  at::Tensor out = at::empty({prompt.size(), layers}, at::kDouble);
  for (std::int64_t token = 0; token < prompt.size(); ++token) {
    for (std::int64_t layer = 0; layer < layers; ++layer)
      out[token][layer] = plain_cell(model, prompt, embeddings, states, kind, token, layer, window);
  }
  return out;
}

}  // namespace lancet::reference
