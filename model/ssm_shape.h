#pragma once
// What the families of state spaces share of config.json.

#include <string>
#include <string_view>

#include "model/config_reader.h"

namespace lancet {

/// Mamba's mixer in every layer and nothing else, under the names "backbone.*"; `spec.ssm` is for
/// the family to fill.
[[nodiscard]] DecoderSpec read_mamba_shape(const Json& config, std::string_view model_type,
                                           bool tied_head);

/// Names that all mixers share, behind `prefix` ("backbone.layers.{}.mixer.").
[[nodiscard]] SsmNames ssm_names(const std::string& prefix);
/// Those that Mamba 1 has beside them.
void add_first_names(SsmNames& names, const std::string& prefix);

/// A number, or "auto" (also where absent): a sixteenth of the width, rounded up.
[[nodiscard]] std::int64_t read_dt_rank(const Json& config, std::string_view key,
                                        std::int64_t d_model);
/// expand * d_model.
[[nodiscard]] std::int64_t read_expanded(const Json& config, std::string_view key,
                                         std::int64_t d_model);

}  // namespace lancet
