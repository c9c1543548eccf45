#pragma once
// A family of decoders: one file in model/architectures/ turns config.json into a DecoderSpec.

#include <span>
#include <string_view>

#include "core/json.h"
#include "model/spec.h"

namespace lancet {

/// Descriptor at the end of each file of model/architectures/; the file is named as the model_type.
struct Architecture {
  std::string_view name;  ///< model_type of config.json
  std::string_view title;
  std::string_view paper;
  /// Reads every option of the config that changes the forward pass; an option with a value that
  /// the engine cannot honour is Error(kMismatch) naming key and value, never ignored.
  DecoderSpec (*describe)(const Json& config);
};

[[nodiscard]] std::span<const Architecture* const> architecture_registry();

/// The spec for a config.json; an unknown model_type is Error(kMismatch) with the nearest supported
/// one.
[[nodiscard]] DecoderSpec describe_decoder(const Json& config);

}  // namespace lancet
