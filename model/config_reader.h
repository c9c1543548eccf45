#pragma once
// What the architecture files read from config.json, with one spelling of every error: an option
// that the engine cannot honour is Error(kMismatch) naming key and value.

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "model/architecture.h"

namespace lancet {

/// Values with the defaults of transformers; null counts as absent. Sizes must lie in [1, limit],
/// the defaults, too.
[[nodiscard]] std::int64_t read_size(const Json& config, std::string_view key, std::int64_t limit);
[[nodiscard]] std::int64_t read_size(const Json& config, std::string_view key, std::int64_t limit,
                                     std::int64_t fallback);
/// 0 where the key is absent or null.
[[nodiscard]] std::int64_t read_optional_size(const Json& config, std::string_view key,
                                              std::int64_t limit);
/// A whole number in [0, limit].
[[nodiscard]] std::int64_t read_count(const Json& config, std::string_view key, std::int64_t limit,
                                      std::int64_t fallback);
/// sliding_window: 0 = none, where it is null; `fallback` where it is absent.
[[nodiscard]] std::int64_t read_window(const Json& config, std::int64_t fallback);
/// A bound of a soft cap: above 0, or 0 where it is null. `fallback` where it is absent.
[[nodiscard]] double read_softcap(const Json& config, std::string_view key, double fallback);
[[nodiscard]] double read_number(const Json& config, std::string_view key, double fallback);
[[nodiscard]] bool read_flag(const Json& config, std::string_view key, bool fallback);
[[nodiscard]] Activation read_activation(const Json& config, std::string_view key,
                                         std::string_view fallback);

/// One of `choices`, by position.
[[nodiscard]] std::size_t read_choice(const Json& config, std::string_view key,
                                      std::span<const std::string_view> choices,
                                      std::string_view fallback);
/// kMismatch unless the option is absent, null or `value`: the engine knows no other.
void expect_option(const Json& config, std::string_view key, const Json& value);

struct RopeDefaults {
  double theta = 10000;
  double partial = 0;  ///< share of each head that turns; 0 = all, and the config may not say less
  std::string_view partial_key = "partial_rotary_factor";
  std::string_view theta_key = "rope_theta";
  std::string_view layer_type;  ///< key of rope_parameters that are given by layer type
  bool scaled = true;           ///< rope_scaling of older files applies
};
/// rope_parameters (transformers 5), or rope_theta with rope_scaling {type | rope_type} (older).
/// The dimensions turn in halves.
[[nodiscard]] RopeSpec read_rope(const Json& config, std::int64_t d_head,
                                 std::int64_t max_positions, const RopeDefaults& defaults = {});

/// For each layer, whether layer_types calls it `type` ("sliding_attention"); any other entry must
/// be "full_attention". `fallback` where the config has no layer_types.
[[nodiscard]] std::vector<bool> read_layer_types(const Json& config, std::int64_t layers,
                                                 std::string_view type,
                                                 const std::function<bool(std::int64_t)>& fallback);
/// A list of 0 and 1, one for each layer.
[[nodiscard]] std::vector<bool> read_layer_flags(const Json& config, std::string_view key,
                                                 std::int64_t layers,
                                                 const std::function<bool(std::int64_t)>& fallback);
/// Layers named by number in a list ("mlp_only_layers"): true where named.
[[nodiscard]] std::vector<bool> read_named_layers(const Json& config, std::string_view key,
                                                  std::int64_t layers);

/// Error(kMismatch): "config.json: KEY = VALUE is not supported".
[[noreturn]] void fail_config(std::string_view key, const Json& value, std::string_view expected);

/// Limits on what a config may claim, far above any real model: sizes that are computed from it
/// cannot overflow.
constexpr std::int64_t kMaxLayers = 4096;
constexpr std::int64_t kMaxWidth = 1 << 22;
constexpr std::int64_t kMaxExperts = 1 << 14;
constexpr std::int64_t kMaxVocab = 1 << 26;
constexpr std::int64_t kMaxPositions = 1LL << 32;

}  // namespace lancet
