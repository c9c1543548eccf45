#pragma once
// Rotary position embeddings: inverse frequencies and tables of cos and sin, in float32 as
// transformers has them.

#include <memory>
#include <utility>

#include <ATen/ATen.h>

#include "model/spec.h"

namespace lancet {

/// float32 [dims / 2]; `length` = tokens seen so far, which dynamic and longrope scaling depend on.
/// `trained` = max_position_embeddings.
[[nodiscard]] at::Tensor inverse_frequencies(const RopeSpec& spec, std::int64_t trained,
                                             std::int64_t length);

struct RopeTable {
  at::Tensor cos, sin;  ///< float32 [positions, dims / 2], times spec.attention_factor
};

/// Tables for the passes of one model, made when first needed and shared. Thread-safe.
class RopeCache {
 public:
  RopeCache(const RopeSpec& spec, std::int64_t trained);
  RopeCache(RopeCache&&) noexcept;
  ~RopeCache();
  /// A table of at least `positions` rows for a pass after which the longest row has `length`
  /// tokens.
  [[nodiscard]] RopeTable table(std::int64_t length, std::int64_t positions,
                                const at::Device& device) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lancet
