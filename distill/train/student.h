#pragma once
// The student: a frozen base with an adapter, its passes forward and back.

#include <cstdint>
#include <vector>

#include "distill/losses/loss.h"
#include "distill/train/batch.h"
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
  /// what lies between again; 0 = everything is kept.
  Student(const Decoder& base, LoraAdapter& adapter, const LossOptions& loss,
          std::int64_t layers_kept);

  /// Adds the gradients of loss / divisor to the parameters. `draw`: of the dropout masks. A loss
  /// that is not finite leaves the parameters' gradients as they were.
  [[nodiscard]] LossSums learn(MicroBatch batch, double divisor, std::int64_t draw);
  /// The loss alone, without dropout.
  [[nodiscard]] LossSums evaluate(MicroBatch batch);

  [[nodiscard]] const Decoder& decoder() const noexcept { return model_; }

 private:
  [[nodiscard]] at::Tensor hidden_rows(const at::Tensor& hidden, const MicroBatch& batch) const;
  [[nodiscard]] LossSums sums_of(const LossResult& result, const MicroBatch& batch) const;
  void add_reference(MicroBatch& batch);
  void learn_in_pieces(const MicroBatch& batch, const Pass& pass, double divisor, LossSums& sums);

  Decoder model_;
  LoraAdapter& adapter_;
  LossOptions loss_;
  std::int64_t layers_kept_;
};

}  // namespace lancet
