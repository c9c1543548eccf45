#pragma once
// The student: a frozen base with an adapter, its passes forward and back.

#include <cstdint>
#include <optional>
#include <vector>

#include "distill/losses/loss.h"
#include "distill/train/batch.h"
#include "distill/train/device_factors.h"
#include "distill/train/local_teacher.h"
#include "distill/train/rollouts.h"
#include "model/decoder.h"
#include "model/lora.h"

namespace lancet {

/// Sums over a micro-batch, or over several.
struct LossSums {
  double loss = 0, ce = 0, kd = 0, coverage = 0;
  std::int64_t count = 0, tokens = 0, teacher_rows = 0;
  std::vector<std::pair<std::string, double>> metrics;

  void add(const LossSums& other);
  /// Means, by name: "ce", "kd", "coverage" where there was a teacher, and the loss's own metrics.
  [[nodiscard]] std::vector<std::pair<std::string, double>> means() const;
};

class Student {
 public:
  /// `layers_kept`: layers between two states that are kept for the backward pass, which computes
  /// what lies between again; 0 = everything is kept. `teacher`: of losses that need one that runs
  /// here, else null; loaded, and outlives the student.
  Student(const Decoder& base, LoraAdapter& adapter, const LossOptions& loss,
          std::int64_t layers_kept, const LocalTeacher* teacher = nullptr);

  /// Its own answers to the prompts of a micro-batch, with their probabilities. `draw` as Rollouts
  /// has it.
  [[nodiscard]] MicroBatch sample(const MicroBatch& data, const Rollouts& rollouts,
                                  std::int64_t draw);

  /// Adds the gradients of loss / divisor to the parameters. `draw`: of the dropout masks. A loss
  /// that is not finite leaves the parameters' gradients as they were.
  [[nodiscard]] LossSums learn(MicroBatch batch, double divisor, std::int64_t draw);
  /// The loss alone, without dropout.
  [[nodiscard]] LossSums evaluate(MicroBatch batch);

  /// With the adapter's present values.
  [[nodiscard]] const Decoder& decoder();

 private:
  [[nodiscard]] at::Tensor hidden_rows(const at::Tensor& hidden, const MicroBatch& batch) const;
  [[nodiscard]] LossSums sums_of(const LossResult& result, const MicroBatch& batch) const;
  /// What the loss needs beside the tokens: a reference's or a teacher's word.
  void complete(MicroBatch& batch);
  [[nodiscard]] std::vector<double> own_logprobs(const MicroBatch& batch, bool adapted);
  void learn_whole(const MicroBatch& batch, const Pass& pass, double divisor, LossSums& sums);
  void learn_in_pieces(const MicroBatch& batch, const Pass& pass, double divisor, LossSums& sums);

  std::optional<DeviceFactors> factors_;  ///< where the base is not on the CPU
  Decoder model_;
  LoraAdapter& adapter_;
  LossOptions loss_;
  std::int64_t layers_kept_;
  const LocalTeacher* teacher_;
};

}  // namespace lancet
