#pragma once
// The shape of DeepSeek's models: Llama's ends and norms around latent attention and mixtures.
//   c = rms(kv_a x)[kv_rank],  k_r = rope(kv_a x)[d_rope], one for all heads
//   k_h = [kv_b c]_h (d_plain) with k_r,  v_h = [kv_b c]_h (d_value)
//   q_h = q_proj x, or q_b rms(q_a x):  d_plain dimensions, then d_rope that turn
// Under YaRN scores are multiplied by the square of 0.1 * mscale_all_dim * ln(factor) + 1.

#include <array>
#include <cstdint>
#include <string_view>

#include "model/llama_shape.h"

namespace lancet {

struct LatentDefaults {
  bool interleaved = true;  ///< RoPE in pairs (2i, 2i + 1)
};

/// Attention, names, dense and mixed layers. The router is the family's to describe.
[[nodiscard]] DecoderSpec read_latent_shape(const Json& config, std::string_view model_type,
                                            const LatentDefaults& defaults);

/// n_group and topk_group; a group counts by the sum of its `best` best experts.
void read_groups(const Json& config, std::int64_t best, MoeSpec& moe);

}  // namespace lancet
