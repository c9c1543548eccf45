#include "surgery/value.h"

#include <cmath>

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "model/runtime.h"

namespace lancet {
namespace {

/// What one chunk adds to the loss and its gradient.
struct Part {
  double nll = 0, kl = 0, probability = 0;  ///< sums over rows
  double worst_nll = 0;                     ///< of its rows
  bool all_first = true;                    ///< every target token is the arg max
  at::Tensor gradient;                      ///< float64 [d_model]
};

struct Problem {
  const Decoder& model;
  const FactRows& rows;
  const RowStates& states;
  std::int64_t layer;
  double kl_factor;
  at::Tensor kl_before;  ///< log probabilities of the unedited model [vocab]
};

/// Hidden states that predict: T positions of every rewriting row, then the KL position if the
/// chunk has it.
at::Tensor predicting(const Problem& problem, const RowChunk& chunk, const at::Tensor& hidden,
                      bool& has_kl) {
  const auto targets = static_cast<std::int64_t>(problem.rows.target.size());
  const auto rewriting = static_cast<std::int64_t>(problem.rows.rewriting.size());
  std::vector<at::Tensor> parts;
  for (std::int64_t r = 0; r < hidden.size(0); ++r) {
    has_kl = chunk.first + r == rewriting;
    const std::int64_t length = chunk.lengths[static_cast<std::size_t>(r)];
    parts.push_back(has_kl ? hidden[r].narrow(0, 0, 1)
                           : hidden[r].narrow(0, length - targets, targets));
  }
  return at::cat(parts);
}

Part run_chunk(Problem& problem, const RowChunk& chunk, const at::Tensor& delta,
               bool with_gradient) {
  c10::AutoGradMode grad_mode(with_gradient);
  Part part;
  const at::Tensor leaf = delta.to(chunk.tail.options()).clone().set_requires_grad(with_gradient);
  // delta goes to the first position of every tail: the subject's last token.
  at::Tensor shift =
      at::constant_pad_nd(leaf.reshape({1, 1, -1}), {0, 0, 0, chunk.tail.size(1) - 1});
  Pass pass;
  pass.cache = chunk.prefix.get();
  pass.lengths = chunk.lengths;
  const at::Tensor hidden =
      problem.model.run(chunk.tail + shift, problem.layer + 1, problem.model.spec().layers, pass);
  bool has_kl = false;
  const at::Tensor log_p =
      at::log_softmax(problem.model.head(predicting(problem, chunk, hidden, has_kl)), -1);

  const auto targets = static_cast<std::int64_t>(problem.rows.target.size());
  const std::int64_t rows = hidden.size(0) - (has_kl ? 1 : 0);
  const auto all_rows = static_cast<double>(problem.rows.rewriting.size());
  at::Tensor loss = at::zeros({}, log_p.options());
  if (rows > 0) {
    const at::Tensor target = at::tensor(std::vector<std::int64_t>(problem.rows.target.begin(),
                                                                   problem.rows.target.end()),
                                         at::TensorOptions(at::kLong))
                                  .to(log_p.device())
                                  .repeat({rows});
    const at::Tensor predicted = log_p.narrow(0, 0, rows * targets);
    const at::Tensor nll =
        -predicted.gather(1, target.unsqueeze(1)).reshape({rows, targets}).mean(1);
    loss = loss + nll.sum() / all_rows;
    const at::Tensor values = nll.detach().to(at::kCPU, at::kDouble);
    for (std::int64_t r = 0; r < rows; ++r) {
      const double row = values[r].item<double>();
      part.nll += row;
      part.probability += std::exp(-row);
      part.worst_nll = std::max(part.worst_nll, row);
    }
    part.all_first = at::equal(predicted.detach().argmax(1), target);
  }
  if (has_kl) {
    const at::Tensor now = log_p.select(0, log_p.size(0) - 1);
    if (!problem.kl_before.defined()) problem.kl_before = now.detach().clone();
    const at::Tensor kl = (now.exp() * (now - problem.kl_before)).sum();
    loss = loss + problem.kl_factor * kl;
    part.kl = kl.detach().item<double>();
  }
  if (with_gradient) {
    loss.backward();
    part.gradient = leaf.grad().to(at::kCPU, at::kDouble);
  }
  return part;
}

/// Adam on one vector, in float64.
class Adam {
 public:
  Adam(std::int64_t size, double lr)
      : lr_(lr), m_(at::zeros({size}, at::kDouble)), v_(at::zeros({size}, at::kDouble)) {}
  void step(at::Tensor& value, const at::Tensor& gradient) {
    constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEps = 1e-8;
    ++count_;
    m_ = m_ * kBeta1 + gradient * (1 - kBeta1);
    v_ = v_ * kBeta2 + gradient * gradient * (1 - kBeta2);
    const double scale1 = 1 - std::pow(kBeta1, count_), scale2 = 1 - std::pow(kBeta2, count_);
    value = value - lr_ / scale1 * m_ / ((v_ / scale2).sqrt() + kEps);
  }

 private:
  double lr_;
  int count_ = 0;
  at::Tensor m_, v_;
};

}  // namespace

Value optimise_value(const Decoder& model, const FactRows& rows, const RowStates& states,
                     std::int64_t layer, const ValueOptions& options) {
  Problem problem{model, rows, states, layer, options.kl, {}};
  const at::Tensor start = states.values[0].to(at::kCPU, at::kDouble);
  const double norm = start.norm().item<double>();
  at::Tensor delta = at::zeros_like(start);
  Adam adam(delta.size(0), options.lr);
  std::vector<at::Tensor> losses;
  for (std::int64_t step = 0; step < options.steps; ++step) {
    const bool last = step + 1 == options.steps;
    std::vector<Part> parts(states.chunks.size());
    for_each_chunk(static_cast<std::int64_t>(parts.size()), [&](std::int64_t c) {
      check_interrupted();
      const auto i = static_cast<std::size_t>(c);
      parts[i] = run_chunk(problem, states.chunks[i], delta, !last);
    });
    Part sum;
    sum.gradient = at::zeros_like(delta);
    for (const Part& part : parts) {
      sum.nll += part.nll;
      sum.kl += part.kl;
      sum.probability += part.probability;
      sum.worst_nll = std::max(sum.worst_nll, part.worst_nll);
      sum.all_first = sum.all_first && part.all_first;
      if (!last) sum.gradient += part.gradient;
    }
    const auto count = static_cast<double>(rows.rewriting.size());
    const double size = delta.norm().item<double>();
    const double nll = sum.nll / count, kl = options.kl * sum.kl,
                 decay = options.weight_decay * size / (norm * norm);
    const double total = nll + kl + decay;
    losses.push_back(at::tensor({total, nll, kl, decay, sum.probability / count}, at::kDouble));
    if (!std::isfinite(total)) {
      fail(ErrorKind::kNumeric, "edit",
           fmt::format("the loss is not finite at step {} of layer {}", step, layer));
    }
    const bool sure = options.stop_nll > 0 && sum.all_first && sum.worst_nll < options.stop_nll;
    if (last || total < options.stop_loss || sure) break;
    if (size > 0) sum.gradient += options.weight_decay / (norm * norm) / size * delta;
    adam.step(delta, sum.gradient);
    const double grown = delta.norm().item<double>();
    if (grown > options.clamp * norm) delta = delta * (options.clamp * norm / grown);
  }
  return {start + delta, delta, at::stack(losses)};
}

}  // namespace lancet
