#pragma once
// Models that see: a decoder inside, under text_config and a prefix of its names. The decoder is
// read, run and edited as itself; tensors of the vision tower and the projector are let be.

#include <string_view>

#include "model/architecture.h"

namespace lancet {

/// What a text_config leaves out means its own family's default; `defaults` has those that the
/// family's file takes for granted, by model_type. `fallback_type`: where it names no model_type.
struct WrappedDefaults {
  std::string_view fallback_type;
  Json (*defaults)(std::string_view model_type) = nullptr;
  bool tied_head = false;  ///< where neither config says
};

/// The decoder of text_config, its names behind "language_model." ("model.language_model." and
/// lm_head at the top, as transformers names them in memory, are read too).
[[nodiscard]] DecoderSpec read_wrapped_shape(const Json& config, std::string_view model_type,
                                             const WrappedDefaults& defaults);

}  // namespace lancet
