#include "distill/train/trainer.h"

#include <cmath>

#include <fmt/format.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/progress.h"
#include "core/seconds.h"
#include "distill/train/share.h"
#include "model/runtime.h"

namespace lancet {
namespace {

double ratio(double a, double b) { return b > 0 ? a / b : 0; }

constexpr std::int64_t kDriftSteps = 50;  ///< between comparisons of the ranks' parameters

}  // namespace

Trainer::Trainer(const Parts& parts)
    : parts_(parts), schedule_(parts.request.schedule, parts.epochs.steps()) {
  if (!parts.data.eval_rows().empty())
    eval_packs_ = make_packs(parts.data, parts.data.eval_rows(), parts.request);
}

RunState Trainer::run(RunState begin) {
  state_ = begin;
  const TrainRequest& request = parts_.request;
  const std::int64_t steps = parts_.epochs.steps();
  Progress progress("training", static_cast<std::uint64_t>(steps - state_.step),
                    Progress::Unit::kItems);
  try {
    if (state_.step == 0 && state_.eval_step < 0) evaluate();
    while (state_.step < steps && !stopped_early_) {
      step();
      after_step();
      progress.set_note(fmt::format("loss {:.4f}", state_.loss));
      progress.advance(1);
    }
    if (!stopped_early_) evaluate();
  } catch (const Error& error) {
    // A step is taken whole or not at all: parameters are those of the last one.
    if (error.kind() == ErrorKind::kInterrupted && state_.step > 0) save();
    throw;
  }
  progress.finish();
  saved_step_ = state_.step;
  if (request.patience > 0) take_best();
  return state_;
}

void Trainer::take_best() {
  const Ranks& ranks = parts_.ranks;
  ranks.together([&] {
    if (!ranks.first() || !parts_.checkpoints.has(state_.best_step)) return;
    parts_.checkpoints.load_values(state_.best_step, parts_.adapter);
    saved_step_ = state_.best_step;
  });
  for (const at::Tensor& each : parts_.optimizer.parameters()) broadcast_tensor(ranks, each);
}

LossSums Trainer::learn(const Epochs::Window& window) {
  LossSums sums;
  Work work = work_of(window);
  parts_.ranks.together([&] { learn_own(window, work, sums); });
  if (parts_.ranks.size() > 1) {
    share_gradients();
    share_sums(parts_.ranks, sums);
  }
  return sums;
}

void Trainer::share_gradients() {
  std::vector<float> flat;
  for (const at::Tensor& each : parts_.optimizer.parameters()) {
    at::Tensor& grad = each.mutable_grad();
    if (!grad.defined()) grad = at::zeros_like(each);
    grad = grad.contiguous();
    const auto* from = grad.const_data_ptr<float>();
    flat.insert(flat.end(), from, from + grad.numel());
  }
  parts_.ranks.sum(std::span<float>(flat));
  const float* from = flat.data();
  for (const at::Tensor& each : parts_.optimizer.parameters()) {
    std::copy_n(from, each.numel(), each.mutable_grad().mutable_data_ptr<float>());
    from += each.numel();
  }
}

void Trainer::check_drift() {
  Sha256 sum;
  for (const at::Tensor& each : parts_.optimizer.parameters())
    sum.update(Bytes(static_cast<const std::byte*>(each.const_data_ptr()), each.nbytes()));
  if (parts_.ranks.agree(sum.hex())) return;
  fail(ErrorKind::kNumeric, "train",
       fmt::format("step {}: the parameters of the ranks have drifted apart", state_.step),
       "one of the machines computes differently: the same build and kind of processor everywhere");
}

MicroBatch Trainer::batch_of(const Pack& pack, std::int64_t draw) {
  MicroBatch data = make_batch(parts_.data, pack, parts_.pairs);
  if (parts_.rollouts == nullptr) return data;
  return parts_.student.sample(data, *parts_.rollouts, draw);
}

Trainer::Work Trainer::work_of(const Epochs::Window& window) {
  Work work;
  for (std::size_t i = 0; i < window.packs.size(); ++i) {
    if (parts_.ranks.takes(i)) work.own.push_back(i);
  }
  if (parts_.rollouts == nullptr) {
    for (const Pack& pack : window.packs)
      work.count += static_cast<double>(batch_count(parts_.data, pack, parts_.pairs));
    return work;
  }
  // How long the answers are is known when all are there.
  parts_.ranks.together([&] {
    for (const std::size_t i : work.own) {
      work.rollouts.push_back(
          batch_of(window.packs[i], window.first + static_cast<std::int64_t>(i)));
      work.count += static_cast<double>(work.rollouts.back().count);
    }
  });
  parts_.ranks.sum(std::span<double>(&work.count, 1));
  return work;
}

void Trainer::learn_own(const Epochs::Window& window, Work& work, LossSums& sums) {
  for (std::size_t k = 0; k < work.own.size(); ++k) {
    const Pack& pack = window.packs[work.own[k]];
    const std::int64_t draw = window.first + static_cast<std::int64_t>(work.own[k]);
    const LossSums own = parts_.student.learn(
        work.rollouts.empty() ? batch_of(pack, draw) : std::move(work.rollouts[k]), work.count,
        draw);
    if (!std::isfinite(own.loss)) stop_on_batch({{pack}, draw, 0}, "the loss is not finite");
    sums.add(own);
  }
}

void Trainer::step() {
  const Timer timer;
  const Epochs::Window window = parts_.epochs.window(state_.step);
  const LossSums sums = learn(window);
  apply(window, sums, timer.seconds());
}

void Trainer::apply(const Epochs::Window& window, const LossSums& sums, double passed) {
  const Timer timer;
  const OptimizerSettings& settings = parts_.request.optimizer;
  const double norm = gradient_norm(parts_.optimizer.parameters());
  if (!std::isfinite(norm)) stop_on_batch(window, "the gradient is not finite");
  const double lr = settings.lr * schedule_.factor(state_.step);
  const double scale = settings.clip > 0 ? std::min(1.0, settings.clip / (norm + 1e-6)) : 1;
  parts_.optimizer.step(lr, scale);
  parts_.optimizer.clear_gradients();
  const double seconds = passed + timer.seconds();
  ++state_.step;
  state_.tokens += static_cast<std::uint64_t>(sums.tokens);
  state_.seconds += seconds;
  state_.loss = sums.loss / static_cast<double>(sums.count);
  StepRecord record{.step = state_.step,
                    .epoch = window.epoch,
                    .loss = state_.loss,
                    .lr = lr,
                    .grad_norm = norm,
                    .tokens = state_.tokens,
                    .targets = static_cast<std::uint64_t>(sums.count),
                    .tokens_per_second = ratio(static_cast<double>(sums.tokens), seconds),
                    .seconds = state_.seconds,
                    .peak_memory = peak_memory(),
                    .more = sums.means()};
  parts_.log.step(record);
}

void Trainer::after_step() {
  const TrainRequest& request = parts_.request;
  const bool last = state_.step == parts_.epochs.steps();
  if (parts_.ranks.size() > 1 && (last || state_.step % kDriftSteps == 0)) check_drift();
  if (request.eval_every > 0 && state_.step % request.eval_every == 0 && !last) evaluate();
  if (request.save_every > 0 && state_.step % request.save_every == 0) save();
}

void Trainer::evaluate() {
  if (eval_packs_.empty() || state_.eval_step == state_.step) return;
  const Timer timer;
  LossSums sums;
  parts_.ranks.together([&] {
    for (std::size_t i = 0; i < eval_packs_.size(); ++i) {
      if (parts_.ranks.takes(i))
        sums.add(
            parts_.student.evaluate(batch_of(eval_packs_[i], -1 - static_cast<std::int64_t>(i))));
    }
  });
  if (parts_.ranks.size() > 1) share_sums(parts_.ranks, sums);
  const double loss = sums.loss / static_cast<double>(sums.count);
  state_.last_eval = loss;
  state_.eval_step = state_.step;
  if (!state_.first_eval) state_.first_eval = loss;
  const bool better = !state_.best_eval || loss < *state_.best_eval;
  if (better) {
    state_.best_eval = loss;
    state_.best_step = state_.step;
  }
  state_.worse_evals = better ? 0 : state_.worse_evals + 1;
  parts_.log.eval({.step = state_.step,
                   .loss = loss,
                   .targets = static_cast<std::uint64_t>(sums.count),
                   .seconds = timer.seconds(),
                   .more = sums.means()});
  const std::int64_t patience = parts_.request.patience;
  if (patience > 0 && better) save();
  stopped_early_ = patience > 0 && state_.worse_evals >= patience;
  if (stopped_early_)
    log::info(fmt::format("stopped: {} evaluations without one better than that after step {}",
                          state_.worse_evals, state_.best_step));
}

void Trainer::save() {
  if (!parts_.ranks.first()) return;
  parts_.checkpoints.save(state_, parts_.adapter, parts_.request.model, parts_.optimizer);
  parts_.checkpoints.prune(parts_.request.keep, state_.best_step);
}

void Trainer::stop_on_batch(const Epochs::Window& window, const std::string& what) {
  std::string text;
  Json lines = Json::array();
  for (const Pack& pack : window.packs) {
    const MicroBatch batch = make_batch(parts_.data, pack, parts_.pairs);
    const auto* ids = batch.ids.const_data_ptr<std::int64_t>();
    for (std::size_t i = 0; i < batch.segments.size(); ++i) {
      text += dump_json({{"line", batch.lines[i]},
                         {"ids", std::vector<std::int64_t>(ids, ids + batch.segments[i])}}) +
              "\n";
      ids += batch.segments[i];
      lines.push_back(batch.lines[i]);
    }
  }
  const fs::path path = parts_.request.out / "failed_batch.jsonl";
  std::error_code ignored;
  fs::create_directories(parts_.request.out, ignored);
  write_file(path, text);
  fail(ErrorKind::kNumeric, "train",
       fmt::format("step {}: {} (rows of lines {}; their tokens are in {})", state_.step + 1, what,
                   dump_json(lines), path.string()),
       "a lower --lr or --clip, or better rows; --save-every keeps what was good");
}

}  // namespace lancet
