#pragma once
// Tensor names and shapes that a DecoderSpec asks for.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/spec.h"

namespace lancet {

struct ExpectedTensor {
  std::string name;                 ///< Hugging Face name
  std::vector<std::int64_t> shape;  ///< as stored
  std::int64_t layer = -1;          ///< of its block; -1: before or behind the blocks
};

/// Every tensor of the model, in the order of the pass.
[[nodiscard]] std::vector<ExpectedTensor> expected_tensors(const DecoderSpec& spec);
/// Those of one block.
[[nodiscard]] std::vector<ExpectedTensor> block_tensors(const DecoderSpec& spec,
                                                        std::int64_t layer);

/// "model.layers.{}.mlp.experts.{}.down_proj" -> "model.layers.7.mlp.experts.2.down_proj"; the
/// second number only where there is a second hole.
[[nodiscard]] std::string layer_name(std::string_view pattern, std::int64_t layer,
                                     std::int64_t second = 0);

/// Whether `name` is one of spec.ignored, whose "{}" stands for any run of characters.
[[nodiscard]] bool is_ignored(const DecoderSpec& spec, std::string_view name);

[[nodiscard]] std::string respelled(std::string name, const Respelling& respelling);
/// Every name of a spec, and what it ignores.
void respell(DecoderSpec& spec, const Respelling& respelling);
void add_prefix(DecoderSpec& spec, std::string_view prefix);

}  // namespace lancet
