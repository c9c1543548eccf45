#pragma once
// The forms of a mixture of experts that transformers loads: names of tensors and fields of
// config.json.

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/json.h"

namespace lancet {

struct MoeFamily {
  std::string_view name;  ///< model_type of the result
  std::string_view architecture;
  std::span<const std::string_view> bases;  ///< model_type of dense models it can be made of
  /// After "model.layers.N.", {} = number of the expert.
  std::string_view gate, up, down, router;
  /// Empty: it has no shared expert; otherwise exactly one, or at most one where `shared_optional`.
  /// An empty shared_router: it is always added whole.
  std::string_view shared_gate, shared_up, shared_down, shared_router;
  std::string_view count_key;  ///< of the number of experts
  bool own_sizes = false;      ///< sizes of the experts stand in keys of their own
  bool shared_optional = false;
};

[[nodiscard]] std::span<const MoeFamily> moe_families();
[[nodiscard]] const MoeFamily* find_moe_family(std::string_view name) noexcept;
/// The family that takes this dense model_type, null when there is none.
[[nodiscard]] const MoeFamily* moe_family_of(std::string_view model_type) noexcept;

/// config.json of a mixture of `experts` models like `dense`, and `shared` shared ones.
[[nodiscard]] Json moe_config(const MoeFamily& family, const Json& dense, std::size_t experts,
                              std::size_t shared, std::int64_t experts_per_token);

}  // namespace lancet
