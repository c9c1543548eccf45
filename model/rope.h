#pragma once
// Rotary position embeddings: inverse frequencies and tables of cos and sin, in float32 as
// transformers has them.

#include <memory>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "model/spec.h"

namespace lancet {

/// float32 [dims / 2]; `length` = tokens seen so far, which dynamic and longrope scaling depend on.
/// `trained` = max_position_embeddings.
[[nodiscard]] at::Tensor inverse_frequencies(const RopeSpec& spec, std::int64_t trained,
                                             std::int64_t length);

/// Lengths with equal frequencies share a regime: 0 up to the trained length; beyond it one for all
/// longer ones (longrope) or one for each length (dynamic).
[[nodiscard]] std::int64_t rope_regime(const RopeSpec& spec, std::int64_t trained,
                                       std::int64_t length);

struct RopeTable {
  at::Tensor cos, sin;  ///< float32 [positions, dims / 2], times spec.attention_factor
};

/// A text of a pass, which turns its positions [start, start + tokens).
struct RopeText {
  std::int64_t length;  ///< what its frequencies go by: its tokens behind the pass
  std::int64_t start, tokens;
};
/// A table for several texts: text b's first position is row first[b], the others follow.
struct RopeRows {
  RopeTable table;
  std::vector<std::int64_t> first;
};

/// Tables for the passes of one model, made when first needed and shared. Thread-safe.
class RopeCache {
 public:
  RopeCache(const RopeSpec& spec, std::int64_t trained);
  RopeCache(RopeCache&&) noexcept;
  ~RopeCache();
  /// A table of at least `positions` rows for a text of `length` tokens.
  [[nodiscard]] RopeTable table(std::int64_t length, std::int64_t positions,
                                const at::Device& device) const;
  /// At least one text, each turned by its own length.
  [[nodiscard]] RopeRows rows(const std::vector<RopeText>& texts, const at::Device& device) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lancet
