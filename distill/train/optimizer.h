#pragma once
// AdamW with decoupled weight decay (arXiv:1711.05101), as torch.optim.AdamW computes it, in
// float32:
//   p *= 1 - lr wd;  m += (1 - b1) (g - m);  v = b2 v + (1 - b2) g^2
//   p -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)
// "adamw8bit" keeps m and v as 8-bit codes of a dynamic map with a scale for each 256 values
// (arXiv:2110.02861). One result for any thread count.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "distill/train/requests.h"

namespace lancet {

/// Global norm of the gradients in float64, over chunks in order.
[[nodiscard]] double gradient_norm(const std::vector<at::Tensor>& parameters);

class Optimizer {
 public:
  /// `parameters`: float32 leaves, A and B of each part in turn, then
  /// vectors. kUsage for settings out of range.
  Optimizer(const OptimizerSettings& settings, std::vector<at::Tensor> parameters);
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// One update with the gradients times `gradient_scale`; a parameter without one has zeros.
  /// `lr`: of A.
  void step(double lr, double gradient_scale);
  void clear_gradients();
  [[nodiscard]] std::int64_t steps() const noexcept { return steps_; }

  /// State that a resumed run needs, beside steps(): tensors of any dtype, in place.
  [[nodiscard]] virtual std::vector<std::pair<std::string, at::Tensor>> state() = 0;
  void set_steps(std::int64_t steps) noexcept { steps_ = steps; }
  [[nodiscard]] const std::vector<at::Tensor>& parameters() const noexcept { return parameters_; }

 protected:
  struct Update {
    double lr = 0, gradient_scale = 1;
    double bias1 = 1, bias2 = 1;  ///< 1 - beta^t
  };
  virtual void update(std::size_t index, const Update& how) = 0;
  [[nodiscard]] const OptimizerSettings& settings() const noexcept { return settings_; }

 private:
  OptimizerSettings settings_;
  std::vector<at::Tensor> parameters_;
  std::int64_t steps_ = 0;
};

[[nodiscard]] std::unique_ptr<Optimizer> make_optimizer(const OptimizerSettings& settings,
                                                        std::vector<at::Tensor> parameters);
/// Bytes of state for each trained value.
[[nodiscard]] double optimizer_bytes(const OptimizerSettings& settings);

}  // namespace lancet
