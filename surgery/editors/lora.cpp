// LoRA on the edit prompts, a baseline. Hu et al. 2021, arXiv:2106.09685.
//   W' = W + alpha / rank * B A      A [rank, d_k] uniform in +-1/sqrt(d_k), B [d_model, rank] = 0
// on the down projection of every edited layer (auto: of all layers), trained by Adam on the mean
// over facts of the mean -log p of the target's tokens. Published editing runs take rank 8, alpha
// 32, lr 5e-3 and 30 to 70 steps; they adapt q and v, and have a dropout of 0.1, which is left out
// here. Precision: passes in the model's, A, B, Adam and sums of gradients in float64; one rounding
// to float32. Facts are written together (--batch N: N at a time, A and B trained on), so no fact
// has a part of its own.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/rng.h"
#include "model/runtime.h"
#include "surgery/tuning.h"

namespace lancet {
namespace {

constexpr Parameter kNumbers[] = {
    {"rank", 8, 1, 1024, true, "columns of the factors of each layer"},
    {"alpha", 32, 1e-3, 1e6, false, "the product is scaled by alpha / rank"},
    {"steps", 70, 1, 10000, true, "passes over the facts"},
    {"lr", 5e-3, 1e-8, 1, false, "Adam's step size"},
    {"stop", 1e-2, 0, 1e3, false, "stop when the mean loss is below"},
    {"minibatch", 16, 1, 1 << 20, true, "facts of a step"},
    {"end", 0, 0, 1, true, "1 = the end-of-text token follows the target"},
};

/// A and B of every layer, one after the other.
std::vector<at::Tensor> first_factors(const EditInput& input, std::int64_t rank) {
  std::vector<at::Tensor> out;
  for (const std::int64_t layer : input.layers) {
    const MatrixRef down = input.model.mlp_down(layer);
    at::Tensor a = at::empty({rank, down.d_in}, at::kFloat);
    Random(input.seed, fmt::format("lora.{}", layer))
        .fill_uniform(0, {a.data_ptr<float>(), static_cast<std::size_t>(a.numel())});
    out.push_back((a.to(at::kDouble) * 2 - 1) / std::sqrt(static_cast<double>(down.d_in)));
    out.push_back(at::zeros({down.d_out, rank}, at::kDouble));
  }
  return out;
}

/// Adds scale * B A k to what the edited layers write.
MakeHook add_low_rank(std::vector<std::int64_t> layers, double scale) {
  return [layers = std::move(layers), scale](const std::vector<at::Tensor>& leaves) -> Hook {
    return [layers, scale, leaves, key = at::Tensor()](std::int64_t at, Place place,
                                                       const at::Tensor& value) mutable {
      const auto found = std::ranges::find(layers, at);
      if (found == layers.end()) return value;
      if (place == Place::kMlpKey) key = value;
      if (place != Place::kMlpOutput) return value;
      const auto i = 2 * static_cast<std::size_t>(found - layers.begin());
      return value + scale * at::matmul(at::matmul(key, leaves[i].t()), leaves[i + 1].t());
    };
  };
}

void check(const Parameters& p, const Tokenizer& tokenizer) {
  check_end(tokenizer, Objective::kTarget, p.integer("end") == 1);
}

EditPlan plan(const EditInput& input) {
  const Parameters& p = input.parameters;
  const std::int64_t rank = p.integer("rank");
  const double scale = p.number("alpha") / static_cast<double>(rank);
  std::vector<at::Tensor> values = first_factors(input, rank);
  EditPlan out;
  Json turns = Json::array();
  for_each_turn(input, out, turns, values, [&](std::span<const Fact> facts) {
    Tuned tuned = tune(
        input.model, tuning_rows(input.tokenizer, facts, Objective::kTarget, p.integer("end") == 1),
        input.layers.front(), std::move(values), add_low_rank(input.layers, scale), {},
        {p.integer("steps"), p.integer("minibatch"), p.number("lr"), p.number("stop")});
    values = std::move(tuned.values);
    add_traces(facts, tuned.losses, out);
    turns.push_back({{"facts", facts.size()},
                     {"passes", tuned.losses.size(0)},
                     {"loss", tuned.losses[-1].mean().item<double>()}});
  });
  out.joint = true;
  for (std::size_t i = 0; i < input.layers.size(); ++i) {
    const MatrixRef down = input.model.mlp_down(input.layers[i]);
    out.factors.push_back({input.layers[i], down.name, down.layout,
                           (scale * values[2 * i + 1]).to(at::kFloat).contiguous(),
                           values[2 * i].t().to(at::kFloat).contiguous()});
  }
  out.notes = {{"turns", turns}};
  return out;
}

}  // namespace

extern const Editor editor_lora;
const Editor editor_lora{.name = "lora",
                         .title = "LoRA trained on the edit prompts: a baseline",
                         .paper = "arXiv:2106.09685",
                         .numbers = kNumbers,
                         .words = {},
                         .max_facts = 0,
                         .reach = Reach::kAll,
                         .stops = false,
                         .covariance = false,
                         .check = check,
                         .plan = plan};

}  // namespace lancet
