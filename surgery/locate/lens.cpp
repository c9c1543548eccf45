#include "surgery/locate/lens.h"

#include <cmath>

#include <c10/core/GradMode.h>

namespace lancet {
namespace {

std::vector<LensToken> row_top(const at::Tensor& values, const at::Tensor& ids, std::int64_t row) {
  std::vector<LensToken> out;
  for (std::int64_t i = 0; i < values.size(1); ++i)
    out.push_back(
        {static_cast<TokenId>(ids[row][i].item<std::int64_t>()), values[row][i].item<double>()});
  return out;
}

/// One layer's column of every map, from its states [tokens, d_model].
void read_layer(const Decoder& model, const at::Tensor& states, TokenId target, std::int64_t layer,
                std::int64_t top, Lens& out) {
  const at::Tensor log_p = at::log_softmax(model.head(states), -1).to(at::kCPU);
  const at::Tensor own = log_p.select(1, target);
  out.probability.select(1, layer).copy_(own.to(at::kDouble).exp());
  out.rank.select(1, layer).copy_(log_p.gt(own.unsqueeze(1)).sum(1) + 1);
  const at::Tensor nats = -(log_p.exp() * log_p).sum(1, false, at::kDouble);
  out.entropy.select(1, layer).copy_(nats / std::log(2.0));
  const auto [values, ids] = log_p.topk(std::min(top, log_p.size(1)), 1);
  const at::Tensor p = values.to(at::kDouble).exp();
  for (std::int64_t token = 0; token < states.size(0); ++token)
    out.top[static_cast<std::size_t>(token)].push_back(row_top(p, ids, token));
}

}  // namespace

Lens read_lens(const Decoder& model, const LocatePrompt& prompt, std::int64_t top) {
  const c10::AutoGradMode no_gradient(false);
  const std::int64_t tokens = prompt.size(), layers = model.spec().layers;
  const auto shape = {tokens, layers + 1};
  Lens out{at::zeros(shape, at::kDouble),
           at::zeros(shape, at::kLong),
           at::zeros(shape, at::kDouble),
           {}};
  out.top.resize(static_cast<std::size_t>(tokens));
  Pass pass;
  pass.hook = [&](std::int64_t layer, Place place, const at::Tensor& value) {
    if (place == Place::kBlockInput && layer == 0)
      read_layer(model, value[0], prompt.target.front(), 0, top, out);
    if (place == Place::kBlockOutput)
      read_layer(model, value[0], prompt.target.front(), layer + 1, top, out);
    return value;
  };
  const at::Tensor ids = prompt.input().narrow(0, 0, tokens).unsqueeze(0);
  (void)model.run(model.embed(ids), 0, layers, pass);
  return out;
}

}  // namespace lancet
