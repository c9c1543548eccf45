#pragma once
// An adapter's factors on the device of its base. The adapter's own stay float32 on the CPU, where
// optimizer, checkpoints and ranks work on them; a pass reads the copies, so that it waits for no
// transfer, and its gradients come back all together.

#include <memory>
#include <vector>

#include <ATen/ATen.h>

#include "model/lora.h"

namespace lancet {

class DeviceFactors {
 public:
  /// The adapter outlives this.
  DeviceFactors(const LoraAdapter& adapter, const at::Device& device);

  /// What a decoder takes in place of the adapter's parts: copies, but for embeddings and for parts
  /// with a magnitude, which are the adapter's own.
  [[nodiscard]] LoraParts parts() const;
  /// Takes the adapter's present values.
  void fetch();
  /// Adds the gradients to those of the adapter's factors and forgets them.
  void give_back();

 private:
  struct Pair {
    at::Tensor own, copy;
  };
  std::vector<std::shared_ptr<LowRank>> parts_;
  std::vector<Pair> pairs_;
};

}  // namespace lancet
