#pragma once
// Tensor names and shapes that a DecoderSpec asks for.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/architecture.h"

namespace lancet {

struct ExpectedTensor {
  std::string name;                 ///< Hugging Face name
  std::vector<std::int64_t> shape;  ///< as stored, in spec.layout
};

/// Every tensor of the model, in the order of the pass.
[[nodiscard]] std::vector<ExpectedTensor> expected_tensors(const DecoderSpec& spec);

/// "model.layers.{}.mlp.down_proj" -> "model.layers.7.mlp.down_proj".
[[nodiscard]] std::string layer_name(std::string_view pattern, std::int64_t layer);

}  // namespace lancet
