#pragma once
// Cases of the fused operators (model/cuda), for their twins on the CPU and for a device.

#include <functional>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "model/cuda/fused.h"

namespace lancet::test {

struct FusedCase {
  using Function = std::function<at::Tensor(const std::vector<at::Tensor>&)>;
  std::string name;
  std::vector<at::Tensor> inputs;  ///< on the CPU, float32 or bfloat16
  Function fused;
  Function formula;  ///< of inputs in float64, by LibTorch's operators
};

[[nodiscard]] std::vector<FusedCase> norm_cases();
[[nodiscard]] std::vector<FusedCase> rotate_cases();
[[nodiscard]] std::vector<FusedCase> swiglu_cases();

/// y = f(inputs) on `device`, and the gradients of sum(y * fixed noise); all on the CPU.
[[nodiscard]] std::vector<at::Tensor> outcome(const FusedCase::Function& f,
                                              const std::vector<at::Tensor>& inputs,
                                              const at::Device& device);

struct CrossEntropyCase {
  std::string name;
  at::Tensor logits;  ///< on the CPU
  std::vector<std::int32_t> targets;
  std::vector<float> weights;  ///< or empty
  fused::LogitForm form;
};
[[nodiscard]] std::vector<CrossEntropyCase> cross_entropy_cases();

/// Losses, and the gradient in the logits' place; on the CPU.
struct CrossEntropyOutcome {
  at::Tensor losses, gradient;
};
[[nodiscard]] CrossEntropyOutcome outcome(const CrossEntropyCase& given, const at::Device& device);
/// The same by LibTorch's operators in float64.
[[nodiscard]] CrossEntropyOutcome formula(const CrossEntropyCase& given);

}  // namespace lancet::test
