#pragma once
// What the architecture files read from config.json, with one spelling of every error: an option
// that the engine cannot honour is Error(kMismatch) naming key and value.

#include <cstdint>
#include <string_view>

#include "core/json.h"
#include "model/architecture.h"

namespace lancet {

/// Values with the defaults of transformers; null counts as absent. Sizes must lie in [1, limit].
[[nodiscard]] std::int64_t read_size(const Json& config, std::string_view key, std::int64_t limit);
[[nodiscard]] std::int64_t read_size(const Json& config, std::string_view key, std::int64_t limit,
                                     std::int64_t fallback);
[[nodiscard]] double read_number(const Json& config, std::string_view key, double fallback);
[[nodiscard]] bool read_flag(const Json& config, std::string_view key, bool fallback);
[[nodiscard]] Activation read_activation(const Json& config, std::string_view key,
                                         std::string_view fallback);

/// rope_parameters (transformers 5), or rope_theta with rope_scaling {type | rope_type} (older).
/// All d_head dimensions turn, in halves.
[[nodiscard]] RopeSpec read_rope(const Json& config, std::int64_t d_head,
                                 std::int64_t max_positions);

/// Error(kMismatch): "config.json: KEY = VALUE is not supported".
[[noreturn]] void fail_config(std::string_view key, const Json& value, std::string_view expected);

/// Limits on what a config may claim, far above any real model: sizes that are computed from it
/// cannot overflow.
constexpr std::int64_t kMaxLayers = 4096;
constexpr std::int64_t kMaxWidth = 1 << 22;
constexpr std::int64_t kMaxVocab = 1 << 26;
constexpr std::int64_t kMaxPositions = 1LL << 32;

}  // namespace lancet
