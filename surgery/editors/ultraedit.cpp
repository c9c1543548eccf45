// UltraEdit: one backward pass and a least-squares step. Gu et al. 2025, arXiv:2505.14679.
// In each turn, for every edited matrix, from micro-batches of facts in order:
//   H [T, d_k]  inputs of the matrix, G [T, d_model]  gradients of the ordinary loss (mean NLL of
//   the
//               micro-batch's target tokens) by its outputs, at all T tokens (tokens=target: only
//               where a target token is predicted)
//   x = [h, g]  lifelong normalisation: mean and deviation over all tokens so far, of all edited
//               matrices (which have one shape); h^, g^ = (x - mean) / deviation with what is known
//               when the turn's passes are done
//   V = -lr |h^|^2 g^,   delta W^T = (H^T H + I)^-1 H^T V
// lr: the published 1e-6 suits the outputs of 7B models; auto takes a multiple of their own length.
// No subject, no search, no covariance. As factors: left = V^T, right = (H^T H + I)^-1 H^T, on
// whichever side is smaller, added up over the turns. Later turns see the weights of the earlier
// ones, and their statistics go on. Differs from the code: the variance adds up squared deviations
// (there: n times the unbiased variance, which is NaN for one token); float32 passes instead of
// fp16; the published modules are gate_proj and up_proj of late layers (Mistral: down_proj), here
// it is down_proj. Precision: passes in the model's, statistics and systems in float64, one
// rounding to float32.
#include <algorithm>
#include <map>

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "model/runtime.h"
#include "surgery/solve.h"
#include "surgery/tuning.h"

namespace lancet {
namespace {

constexpr Parameter kNumbers[] = {
    {"lr", kAuto, 1e-12, 1e3, false,
     "size of V (the code: 1e-6, for 7B models); auto: in each turn and layer so that V is `size` "
     "times as long as what the matrix answers, on average over the tokens"},
    {"size", 0.5, 1e-6, 1e3, false, "where lr is auto: mean |V| over mean |W h|"},
    {"microbatch", 10, 1, 1 << 20, true, "facts of a pass"},
};
const std::vector<WordParameter> kWords{
    {"tokens",
     "all",
     {"all", "target"},
     "which positions count: all tokens, or those that predict the target"},
};
constexpr double kEps = 1e-7;

/// Mean and deviation of everything seen so far, float64 [n].
class Lifelong {
 public:
  Lifelong() = default;
  Lifelong(at::Tensor mean, at::Tensor spread, double count)
      : count_(count), mean_(std::move(mean)), spread_(std::move(spread)) {}
  void update(const at::Tensor& x) {  // [T, n]
    const auto fresh = static_cast<double>(x.size(0));
    const at::Tensor mean = x.mean(0);
    const at::Tensor spread = (x - mean).square().sum(0);
    if (!mean_.defined()) {
      mean_ = mean;
      spread_ = spread;
    } else {
      const at::Tensor step = mean - mean_;
      mean_ = mean_ + step * (fresh / (count_ + fresh));
      spread_ = spread_ + spread + step.square() * (count_ * fresh / (count_ + fresh));
    }
    count_ += fresh;
  }
  [[nodiscard]] double count() const { return count_; }
  [[nodiscard]] const at::Tensor& mean() const { return mean_; }
  [[nodiscard]] const at::Tensor& spread() const { return spread_; }
  [[nodiscard]] at::Tensor normalise(const at::Tensor& x) const {
    const at::Tensor deviation = (spread_ / std::max(1.0, count_ - 1)).sqrt();
    return (x - mean_) / (deviation + kEps);
  }

 private:
  double count_ = 0;
  at::Tensor mean_, spread_;
};

double mean_length(const at::Tensor& rows) { return rows.norm(2, 1).mean().item<double>(); }

/// Inputs and gradients of one layer, float64 [T, d_k] and [T, d_model].
struct Features {
  at::Tensor inputs, gradients;
};

/// One micro-batch.
struct MicroBatch {
  std::vector<Features> layers;  ///< at the tokens that count
  std::vector<double> losses;    ///< mean NLL of each row
};

MicroBatch read_features(const Decoder& model, std::span<const TuningRow> rows,
                         const std::vector<std::int64_t>& layers, bool only_targets) {
  const TuningBatch batch = make_batch(model, rows, layers.front());
  c10::AutoGradMode gradient(true);
  std::map<std::int64_t, at::Tensor> inputs, leaves;
  const at::Tensor nll = target_nll(
      model, batch, [&](std::int64_t layer, Place place, const at::Tensor& value) -> at::Tensor {
        if (!std::ranges::binary_search(layers, layer)) return value;
        if (place == Place::kMlpKey) inputs[layer] = value.detach();
        if (place != Place::kMlpOutput) return value;
        leaves[layer] = at::zeros_like(value.detach()).set_requires_grad(true);
        return value + leaves[layer];
      });
  nll.mean().backward();
  at::Tensor tokens = batch.places;
  if (!only_targets) {
    std::vector<std::int64_t> all;
    for (std::size_t r = 0; r < batch.lengths.size(); ++r) {
      for (std::int64_t t = 0; t < batch.lengths[r]; ++t)
        all.push_back(static_cast<std::int64_t>(r) * batch.hidden.size(1) + t);
    }
    tokens = at::tensor(all, at::kLong).to(tokens.device());
  }
  const auto pick = [&](const at::Tensor& value) {
    return value.flatten(0, 1).index_select(0, tokens).to(at::kCPU, at::kDouble);
  };
  MicroBatch out;
  for (const std::int64_t layer : layers)
    out.layers.push_back({pick(inputs.at(layer)), pick(leaves.at(layer).grad())});
  std::int64_t at = 0;
  for (const std::int64_t count : batch.target_counts) {
    out.losses.push_back(nll.detach().narrow(0, at, count).mean().item<double>());
    at += count;
  }
  return out;
}

/// (H^T H + I)^-1 H^T V as [d_k, d_model].
at::Tensor least_squares(const at::Tensor& inputs, const at::Tensor& values, double& residual) {
  const bool dual = inputs.size(0) <= inputs.size(1);
  at::Tensor system = dual ? at::matmul(inputs, inputs.t()) : at::matmul(inputs.t(), inputs);
  system.diagonal().add_(1);
  const Solution solved = SpdSolver(system).solve(dual ? values : at::matmul(inputs.t(), values));
  residual = std::max(residual, solved.residual);
  return dual ? at::matmul(inputs.t(), solved.x) : solved.x;
}

class UltraEdit {
 public:
  explicit UltraEdit(const EditInput& input) : input_(input), model_(input.model) {
    for (const std::int64_t layer : input.layers) {
      const MatrixRef down = model_.mlp_down(layer);
      changes_.push_back(at::zeros({down.d_out, down.d_in}, at::kDouble));
    }
  }

  [[nodiscard]] EditPlan run() {
    std::vector<at::Tensor> state;  // of the turns so far: changes, then statistics and numbers
    for_each_turn(input_, plan_, sizes_, state, [&](std::span<const Fact> facts) {
      if (!state.empty()) go_on_from(state);
      write(facts);
      state = changes_;
      state.push_back(statistics_.mean());
      state.push_back(statistics_.spread());
      state.push_back(at::tensor({statistics_.count(), residual_}, at::kDouble));
    });
    if (!state.empty()) go_on_from(state);
    return plan();
  }

 private:
  /// What the turns before have written, all of it on the matrices that the model came with.
  void go_on_from(const std::vector<at::Tensor>& state) {
    const std::size_t layers = input_.layers.size();
    changes_.assign(state.begin(), state.begin() + std::ssize(input_.layers));
    const at::Tensor& numbers = state[layers + 2];
    statistics_ = Lifelong(state[layers], state[layers + 1], numbers[0].item<double>());
    residual_ = numbers[1].item<double>();
    const OneThread inside;
    for (std::size_t l = 0; l < layers; ++l) {
      const MatrixRef down = input_.model.mlp_down(input_.layers[l]);
      model_ = model_.with_weight(down.name,
                                  input_.model.with_change(down, changes_[l]).weight(down.name));
    }
  }

  void write(std::span<const Fact> facts) {
    const std::vector<Features> features = read(facts);
    const OneThread inside;  // the bits must not depend on the thread count
    for (std::size_t l = 0; l < input_.layers.size(); ++l) {
      const Features& layer = features[l];
      const at::Tensor normal = statistics_.normalise(at::cat({layer.inputs, layer.gradients}, 1));
      const at::Tensor h = normal.narrow(1, 0, layer.inputs.size(1)),
                       g = normal.narrow(1, layer.inputs.size(1), layer.gradients.size(1));
      const at::Tensor steps = h.square().sum(1, true) * g;
      const double lr = input_.parameters.number_or(
          "lr", input_.parameters.number("size") *
                    mean_length(answers(input_.layers[l], layer.inputs)) /
                    std::max(mean_length(steps), 1e-30));
      changes_[l] = changes_[l] + least_squares(layer.inputs, -lr * steps, residual_).t();
      sizes_.push_back({{"layer", input_.layers[l]}, {"lr", lr}});
    }
  }

  [[nodiscard]] EditPlan plan() {
    for (std::size_t l = 0; l < input_.layers.size(); ++l) {
      plan_.factors.push_back(
          whole_factors(input_.layers[l], input_.model.mlp_down(input_.layers[l]), changes_[l]));
    }
    for (FactTrace& trace : plan_.traces) trace.residual = residual_;
    plan_.joint = true;
    plan_.notes = {{"solve_residual", residual_}, {"turns", sizes_}};
    return std::move(plan_);
  }

  const EditInput& input_;
  Decoder model_;
  Lifelong statistics_;
  std::vector<at::Tensor> changes_;  ///< float64 [d_model, d_k] a layer
  double residual_ = 0;
  Json sizes_ = Json::array();  ///< lr of every turn and layer
  EditPlan plan_;

  /// W h of the model as it is now, float64 [T, d_model].
  [[nodiscard]] at::Tensor answers(std::int64_t layer, const at::Tensor& inputs) const {
    const MatrixRef down = model_.mlp_down(layer);
    const at::Tensor weight = model_.weight(down).to(at::kCPU, at::kDouble);
    return at::matmul(inputs, down.layout == MatrixLayout::kOutIn ? weight.t() : weight);
  }

  /// Features of a turn, a layer each; what they are normalised by is brought up to date.
  std::vector<Features> read(std::span<const Fact> facts) {
    const auto rows = tuning_rows(input_.tokenizer, facts, Objective::kTarget, false);
    const auto micro = static_cast<std::size_t>(input_.parameters.integer("microbatch"));
    const std::size_t count = (rows.size() + micro - 1) / micro;
    std::vector<MicroBatch> parts(count);
    for_each_chunk(static_cast<std::int64_t>(count), [&](std::int64_t c) {
      check_interrupted();
      const std::size_t first = static_cast<std::size_t>(c) * micro;
      parts[static_cast<std::size_t>(c)] = read_features(
          model_, std::span(rows).subspan(first, std::min(micro, rows.size() - first)),
          input_.layers, input_.parameters.word("tokens") == "target");
    });
    const OneThread inside;
    std::vector<Features> out;
    for (std::size_t l = 0; l < input_.layers.size(); ++l) {
      std::vector<at::Tensor> inputs, gradients;
      for (const auto& part : parts) {
        inputs.push_back(part.layers[l].inputs);
        gradients.push_back(part.layers[l].gradients);
      }
      out.push_back({at::cat(inputs), at::cat(gradients)});
    }
    std::vector<double> losses;  // before the turn
    for (const MicroBatch& part : parts) {
      for (const Features& layer : part.layers)
        statistics_.update(at::cat({layer.inputs, layer.gradients}, 1));
      losses.insert(losses.end(), part.losses.begin(), part.losses.end());
    }
    add_traces(facts, at::tensor(losses, at::kDouble).unsqueeze(0), plan_);
    return out;
  }
};

void check(const Parameters& p, const Tokenizer&) {
  if (!p.is_given("lr") || !p.is_given("size")) return;
  fail(ErrorKind::kUsage, "edit",
       fmt::format("--method-option size: expected lr=auto, found lr={}", p.number("lr")),
       "size is how long a step lr=auto makes; leave one of the two out");
}

EditPlan plan(const EditInput& input) { return UltraEdit(input).run(); }

}  // namespace

extern const Editor editor_ultraedit;
const Editor editor_ultraedit{.name = "ultraedit",
                              .title = "UltraEdit: one backward pass and a least-squares step",
                              .paper = "arXiv:2505.14679",
                              .numbers = kNumbers,
                              .words = kWords,
                              .max_facts = 0,
                              .reach = Reach::kLate,
                              .stops = false,
                              .covariance = false,
                              .check = check,
                              .plan = plan};

}  // namespace lancet
