#pragma once
// The loop: windows of micro-batches into optimiser steps, evaluations, checkpoints.

#include <cstdint>
#include <functional>
#include <memory>

#include "distill/train/checkpoint.h"
#include "distill/train/dataset.h"
#include "distill/train/epochs.h"
#include "distill/train/log.h"
#include "distill/train/optimizer.h"
#include "distill/train/ranks.h"
#include "distill/train/requests.h"
#include "distill/train/schedule.h"
#include "distill/train/student.h"

namespace lancet {

/// A window's micro-batches are dealt out to the ranks in turn, and their gradients added: the same
/// steps as one process takes, but for the order of the sums. Rank 0 writes.
class Trainer {
 public:
  struct Parts {
    const TrainRequest& request;
    const Dataset& data;
    LoraAdapter& adapter;
    Student& student;
    Epochs& epochs;
    Optimizer& optimizer;
    Checkpoints& checkpoints;
    TrainLog& log;
    const Ranks& ranks;
    bool pairs = false;                  ///< the loss wants preferences
    const Rollouts* rollouts = nullptr;  ///< where it wants the student's own answers
  };
  explicit Trainer(const Parts& parts);

  /// From `begin` to the end, or to where it stops early. kNumeric when a loss or gradient is not
  /// finite: the batch is in OUT/failed_batch.jsonl then. Ctrl-C and SIGTERM leave a checkpoint.
  /// The parameters are those of the last step, or with patience those of the best evaluation.
  [[nodiscard]] RunState run(RunState begin);
  [[nodiscard]] bool stopped_early() const noexcept { return stopped_early_; }
  /// The step whose parameters they are; of the first rank.
  [[nodiscard]] std::int64_t saved_step() const noexcept { return saved_step_; }

 private:
  void step();
  void evaluate();
  void save();
  void after_step();
  [[nodiscard]] LossSums learn(const Epochs::Window& window);
  /// What a rank passes through the model in one step: its micro-batches' numbers in the window,
  /// rollouts in place of the data where the loss wants them, and what all ranks' are divided by.
  struct Work {
    std::vector<std::size_t> own;
    std::vector<MicroBatch> rollouts;
    double count = 0;
  };
  [[nodiscard]] Work work_of(const Epochs::Window& window);
  void learn_own(const Epochs::Window& window, Work& work, LossSums& sums);
  /// A micro-batch of the data, or of rollouts drawn as number `draw`.
  [[nodiscard]] MicroBatch batch_of(const Pack& pack, std::int64_t draw);
  void share_gradients();
  void take_best();
  void check_drift();
  [[noreturn]] void stop_on_batch(const Epochs::Window& window, const std::string& what);
  void apply(const Epochs::Window& window, const LossSums& sums, double seconds);

  Parts parts_;
  Schedule schedule_;
  RunState state_;
  std::vector<Pack> eval_packs_;
  std::int64_t saved_step_ = 0;
  bool stopped_early_ = false;
};

}  // namespace lancet
