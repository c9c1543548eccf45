#include "surgery/locate/attribution.h"

#include <algorithm>
#include <set>

#include <c10/core/GradMode.h>

#include "core/interrupt.h"

namespace lancet {
namespace {

constexpr std::int64_t kChunkTokens = 512;  ///< of the samples that share one backward pass

/// The states of one pass, kept with their gradients: [layers] for each kind.
struct Kept {
  std::vector<at::Tensor> hidden, mlp, attention;

  [[nodiscard]] std::vector<at::Tensor>& of(TraceKind kind) {
    return kind == TraceKind::kMlp ? mlp : kind == TraceKind::kAttention ? attention : hidden;
  }
};

/// Sum over rows of p(target): rows are independent, so each row's gradient is its own.
at::Tensor total_probability(const Decoder& model, const at::Tensor& hidden,
                             const std::vector<TokenId>& target) {
  const auto count = static_cast<std::int64_t>(target.size());
  const at::Tensor log_p =
      at::log_softmax(model.head(hidden.narrow(1, hidden.size(1) - count, count)), -1);
  const at::Tensor ids =
      at::tensor(std::vector<std::int64_t>(target.begin(), target.end()), at::kLong)
          .to(log_p.device())
          .view({1, count, 1})
          .expand({hidden.size(0), count, 1});
  return log_p.gather(2, ids).sum(1).exp().sum();
}

/// Forward and backward from `embeddings`; the kept states then have gradients.
Kept differentiate(const Decoder& model, const at::Tensor& embeddings,
                   const std::vector<TokenId>& target) {
  c10::AutoGradMode gradient(true);
  Kept kept;
  Pass pass;
  pass.hook = [&kept](std::int64_t, Place place, const at::Tensor& value) {
    auto* list = place == Place::kBlockOutput       ? &kept.hidden
                 : place == Place::kMlpOutput       ? &kept.mlp
                 : place == Place::kAttentionOutput ? &kept.attention
                                                    : nullptr;
    if (list == nullptr) return value;
    value.retain_grad();
    list->push_back(value);
    return value;
  };
  const at::Tensor leaf = embeddings.clone().set_requires_grad(true);
  const at::Tensor hidden = model.run(leaf, 0, model.spec().layers, pass);
  total_probability(model, hidden, target).backward();
  return kept;
}

/// Clean minus corrupted state of samples [first, first + count), float64.
at::Tensor difference(const Runs& runs, TraceKind kind, std::int64_t layer, std::int64_t first,
                      std::int64_t count) {
  const auto at = static_cast<std::size_t>(layer);
  const at::Tensor& all = kind == TraceKind::kMlp         ? runs.mlp[at]
                          : kind == TraceKind::kAttention ? runs.attention[at]
                                                          : runs.hidden[at + 1];
  return (all.narrow(0, 0, 1) - all.narrow(0, 1 + first, count)).to(at::kCPU, at::kDouble);
}

at::Tensor ranks(const at::Tensor& values) {
  const at::Tensor order = values.argsort(true, -1, false);
  at::Tensor out = at::empty_like(values);
  out.scatter_(0, order, at::arange(values.numel(), values.options()));
  return out;
}

double pearson(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a - a.mean(), y = b - b.mean();
  return ((x * y).sum() / (x.norm() * y.norm())).item<double>();
}

std::set<std::int64_t> largest(const at::Tensor& values, std::int64_t top) {
  const at::Tensor order = values.argsort(true, -1, true).narrow(0, 0, top).contiguous();
  return {order.const_data_ptr<std::int64_t>(), order.const_data_ptr<std::int64_t>() + top};
}

}  // namespace

std::vector<Attribution> attribute_states(const Decoder& model, const LocatePrompt& prompt,
                                          const Runs& runs, std::int64_t steps) {
  const std::int64_t layers = model.spec().layers;
  const at::Tensor& embeddings = runs.hidden.front();
  std::vector<Attribution> out;
  for (const TraceKind kind : {TraceKind::kHidden, TraceKind::kMlp, TraceKind::kAttention})
    out.push_back({kind, at::zeros({prompt.size(), layers}, at::kDouble)});
  const std::int64_t chunk = std::max<std::int64_t>(1, kChunkTokens / embeddings.size(1));
  for (std::int64_t first = 0; first < runs.samples; first += chunk) {
    const std::int64_t count = std::min(chunk, runs.samples - first);
    const at::Tensor corrupted = embeddings.narrow(0, 1 + first, count);
    for (std::int64_t step = 0; step < steps; ++step) {
      check_interrupted();
      const double fraction =
          steps == 1 ? 0 : (static_cast<double>(step) + 0.5) / static_cast<double>(steps);
      Kept kept = differentiate(
          model, corrupted + fraction * (embeddings.narrow(0, 0, 1) - corrupted), prompt.target);
      for (Attribution& map : out) {
        for (std::int64_t layer = 0; layer < layers; ++layer) {
          const at::Tensor gradient =
              kept.of(map.kind)[static_cast<std::size_t>(layer)].grad().to(at::kCPU, at::kDouble);
          const at::Tensor effect =
              (difference(runs, map.kind, layer, first, count) * gradient).sum(-1).sum(0);
          map.effect.select(1, layer).add_(effect.narrow(0, 0, prompt.size()));
        }
      }
    }
  }
  for (Attribution& map : out) map.effect.div_(static_cast<double>(runs.samples * steps));
  return out;
}

Agreement agreement(const at::Tensor& a, const at::Tensor& b, std::int64_t top) {
  const at::Tensor x = a.reshape({-1}), y = b.reshape({-1});
  const std::int64_t count = std::min(top, x.numel());
  const auto best = largest(x, count);
  std::int64_t shared = 0;
  for (const std::int64_t cell : largest(y, count)) shared += best.contains(cell) ? 1 : 0;
  return {pearson(x, y), pearson(ranks(x), ranks(y)),
          static_cast<double>(shared) / static_cast<double>(count)};
}

}  // namespace lancet
