#pragma once
// What a job is made of: types, width of a pack, threads of a team. A GPU and its twin choose
// alike.

#include "model/cuda/row_math.h"

namespace lancet::fused {

inline constexpr int kWidth = 4;        ///< of a pack, where rows are made of whole ones
inline constexpr int kThreads = 256;    ///< of a team
inline constexpr int kFewThreads = 32;  ///< for short rows: those of single heads
inline constexpr std::int64_t kShort = 256;
inline constexpr int kManyThreads = 1024;  ///< for rows of logits

template <class T, class W, int kPack, int kTeam>
struct Choice {
  using Value = T;
  using Weight = W;
  static constexpr int kWidth = kPack;
  static constexpr int kThreads = kTeam;
};

inline std::size_t size_of(Type type) { return type == Type::kFloat32 ? 4 : 2; }

/// run(Choice): `packed` says whether all rows are made of whole packs.
template <class T, class W, int kTeam, class Run>
int with_width(bool packed, const Run& run) {
  return packed ? run(Choice<T, W, kWidth, kTeam>{}) : run(Choice<T, W, 1, kTeam>{});
}
template <int kTeam, class Run>
int with_types(Type type, Type weight, bool packed, const Run& run) {
  if (type == Type::kFloat32) return with_width<float, float, kTeam>(packed, run);
  if (weight == Type::kFloat32) return with_width<BFloat16, float, kTeam>(packed, run);
  return with_width<BFloat16, BFloat16, kTeam>(packed, run);
}

}  // namespace lancet::fused
