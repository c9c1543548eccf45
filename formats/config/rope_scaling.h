#pragma once
// Rotary position settings as config.json spells them (rope_parameters of transformers 5,
// rope_theta and rope_scaling before) and as GGUF stores them (metadata, and divisors in
// rope_freqs.weight for llama3, in rope_factors_{short,long}.weight for longrope).

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "formats/containers/gguf.h"

namespace lancet {

struct RopeSettings {
  double theta = 10000.0;
  std::string type = "default";  ///< default, linear, yarn, llama3 or longrope
  double factor = 1.0;
  double low_freq_factor = 1.0;                    ///< llama3
  double high_freq_factor = 4.0;                   ///< llama3
  std::int64_t original_context = 0;               ///< yarn, llama3, longrope; 0 = not given
  std::vector<float> short_factors, long_factors;  ///< longrope: divisors by frequency
  double attention_factor = 1.0;                   ///< longrope: of cosine and sine
  double mscale = 0;  ///< yarn: mscale and mscale_all_dim, which are the same; 0 = neither is given
  bool truncate = true;  ///< yarn: its ramp begins at whole dimensions
};

/// sqrt(1 + ln(context / original) / ln(original)): longrope's attention factor where none is
/// given.
[[nodiscard]] double longrope_attention(double context, double original);

/// Whether a GGUF tensor holds divisors of frequencies: part of the settings, not of the weights.
[[nodiscard]] bool is_rope_tensor(std::string_view name) noexcept;

/// Settings of a config.json; kMismatch for a type or parameter that is not known here.
[[nodiscard]] RopeSettings rope_from_config(const Json& config);

/// Settings of a GGUF; `divisors`: values of rope_freqs.weight [head_dim / 2], empty when there are
/// none. longrope's factors are left to the caller.
[[nodiscard]] RopeSettings rope_from_gguf(const GgufHeader& header, const std::string& architecture,
                                          std::span<const float> divisors);

/// Writes rope_theta, rope_parameters and (when scaled) rope_scaling: every version of transformers
/// reads one. longrope needs max_position_embeddings to be there.
void put_rope(const RopeSettings& rope, Json& config);

/// Divisors of the llama3 scaling for each frequency theta^(-2i/d), i < head_dim / 2:
/// 1 for short wavelengths, `factor` for long ones, 1 / ((1 - s) / factor + s) between.
[[nodiscard]] std::vector<float> llama3_divisors(const RopeSettings& rope, std::int64_t head_dim);

/// llama3 settings with these divisors, one at least: those of Llama 3 where they fit, else others
/// that turn alike; nothing where none do.
[[nodiscard]] std::optional<RopeSettings> llama3_of_divisors(double theta,
                                                             std::span<const float> divisors);

}  // namespace lancet
