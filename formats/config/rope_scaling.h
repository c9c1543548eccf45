#pragma once
// Rotary position settings as config.json spells them (rope_parameters of transformers 5,
// rope_theta and rope_scaling before) and as GGUF stores them (metadata, and divisors in
// rope_freqs.weight for llama3).

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/json.h"
#include "formats/containers/gguf.h"

namespace lancet {

struct RopeSettings {
  double theta = 10000.0;
  std::string type = "default";  ///< default, linear, yarn or llama3
  double factor = 1.0;
  double low_freq_factor = 1.0;       ///< llama3
  double high_freq_factor = 4.0;      ///< llama3
  std::int64_t original_context = 0;  ///< yarn, llama3; 0 = not given
};

/// Settings of a config.json; kMismatch for a type or parameter that is not known here.
[[nodiscard]] RopeSettings rope_from_config(const Json& config);

/// Settings of a GGUF; `divisors`: values of rope_freqs.weight [head_dim / 2], empty when there are
/// none.
[[nodiscard]] RopeSettings rope_from_gguf(const GgufHeader& header, const std::string& architecture,
                                          std::span<const float> divisors);

/// Writes rope_theta, rope_parameters and (when scaled) rope_scaling: every version of transformers
/// reads one.
void put_rope(const RopeSettings& rope, Json& config);

/// Divisors of the llama3 scaling for each frequency theta^(-2i/d), i < head_dim / 2:
/// 1 for short wavelengths, `factor` for long ones, 1 / ((1 - s) / factor + s) between.
[[nodiscard]] std::vector<float> llama3_divisors(const RopeSettings& rope, std::int64_t head_dim);

}  // namespace lancet
