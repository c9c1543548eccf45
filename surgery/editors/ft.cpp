// Fine-tuning of one matrix on the edit prompts: the baseline of every editing paper.
//   W' = W + D,  D = argmin mean_facts mean_t -log p(target_t | prompt, target_<t; W + D)
// by Adam on D [d_model, d_k] from 0, `steps` passes over the facts in minibatches; the other
// weights are constants. The published variants:
//   FT     Zhu et al. 2020 (arXiv:2012.00363) as coded by ROME: objective=last
//   FT-L   the same with a bound, |D_ij| <= norm:            objective=last norm=5e-4
//   FT-M   masked cross-entropy on the target's tokens:      the default
//   LocFT  Yang et al. 2025 (arXiv:2509.22072): breadth first (many facts, several passes), the
//          end-of-text token behind the target:              end=1
// objective=last asks the prompt's last position for all target tokens, which is wrong for targets
// of more than one; it is kept because published numbers rest on it.
// Precision: passes in the model's, D, Adam and sums of gradients in float64; one rounding to
// float32. Facts are written together (--batch N: N at a time, each turn from the weights of the
// one before, with a bound and moments of its own), so no fact has a part of D of its own.
#include "model/runtime.h"
#include "surgery/tuning.h"

namespace lancet {
namespace {

constexpr Parameter kNumbers[] = {
    {"steps", 25, 1, 10000, true, "passes over the facts"},
    {"lr", 5e-4, 1e-8, 1, false, "Adam's step size"},
    {"stop", 1e-2, 0, 1e3, false, "stop when the mean loss is below"},
    {"norm", 0, 0, 1e3, false, "largest change of any weight (FT-L: 5e-4), 0 = no bound"},
    {"minibatch", 16, 1, 1 << 20, true, "facts of a step"},
    {"end", 0, 0, 1, true, "1 = the end-of-text token follows the target (LocFT)"},
};
const std::vector<WordParameter> kWords{
    {"objective",
     "target",
     {"target", "last"},
     "target: each target token from what stands before it (FT-M); last: all of them from the "
     "prompt's last position (FT, FT-L)"},
};

/// Adds k D^T to what `layer` writes.
MakeHook add_product(std::int64_t layer) {
  return [layer](const std::vector<at::Tensor>& leaves) -> Hook {
    return [layer, change = leaves.front(), key = at::Tensor()](std::int64_t at, Place place,
                                                                const at::Tensor& value) mutable {
      if (at != layer) return value;
      if (place == Place::kMlpKey) key = value;
      return place == Place::kMlpOutput ? value + at::matmul(key, change.t()) : value;
    };
  };
}

Objective objective_of(const Parameters& p) {
  return p.word("objective") == "last" ? Objective::kLast : Objective::kTarget;
}

void check(const Parameters& p, const Tokenizer& tokenizer) {
  check_end(tokenizer, objective_of(p), p.integer("end") == 1);
}

EditPlan plan(const EditInput& input) {
  const Parameters& p = input.parameters;
  const std::int64_t layer = input.layers.front();
  const MatrixRef down = input.model.mlp_down(layer);
  const Objective objective = objective_of(p);
  const double norm = p.number("norm");
  std::vector<at::Tensor> changes{at::zeros({down.d_out, down.d_in}, at::kDouble)};
  EditPlan out;
  Json turns = Json::array();
  for_each_turn(input, out, turns, changes, [&](std::span<const Fact> facts) {
    const at::Tensor before = changes.front();
    const auto bound = [&](std::vector<at::Tensor>& values) {
      if (norm > 0) values[0] = before + (values[0] - before).clamp(-norm, norm);
    };
    Tuned tuned =
        tune(input.model, tuning_rows(input.tokenizer, facts, objective, p.integer("end") == 1),
             layer, changes, add_product(layer), bound,
             {p.integer("steps"), p.integer("minibatch"), p.number("lr"), p.number("stop")});
    changes = std::move(tuned.values);
    add_traces(facts, tuned.losses, out);
    turns.push_back({{"facts", facts.size()},
                     {"passes", tuned.losses.size(0)},
                     {"loss", tuned.losses[-1].mean().item<double>()}});
  });
  out.joint = true;
  out.factors.push_back(whole_factors(layer, down, changes.front()));
  out.notes = {{"turns", turns}};
  return out;
}

}  // namespace

extern const Editor editor_ft;
const Editor editor_ft{.name = "ft",
                       .title = "Fine-tuning of one matrix (FT, FT-L, FT-M, LocFT): a baseline",
                       .paper = "arXiv:2012.00363, arXiv:2509.22072",
                       .numbers = kNumbers,
                       .words = kWords,
                       .max_facts = 0,
                       .stops = false,
                       .covariance = false,
                       .check = check,
                       .plan = plan};

}  // namespace lancet
