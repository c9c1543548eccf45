#pragma once
// The shape that most families share: token embedding, blocks of pre-normed attention and gated
// MLP, final norm, head, under Llama's names. A family's file starts from it and says what differs.

#include <cstdint>
#include <string_view>

#include "model/architecture.h"
#include "model/config_reader.h"

namespace lancet {

struct LlamaDefaults {
  bool tied_head = false;
  std::int64_t max_positions = 2048;
  std::int64_t d_head = 0;    ///< 0 = hidden_size / num_attention_heads
  std::int64_t kv_heads = 0;  ///< 0 = num_attention_heads
  double norm_eps = 1e-6;
  std::string_view norm_eps_key = "rms_norm_eps";
  std::string_view activation_key = "hidden_act";
  std::string_view activation = "silu";
  std::string_view d_ff_key = "intermediate_size";
  RopeDefaults rope;
};

/// Sizes, head, RMS norm, RoPE on every layer, full attention without biases, gated MLP. Biases and
/// whatever else a family knows are its own to read.
[[nodiscard]] DecoderSpec read_llama_shape(const Json& config, std::string_view model_type,
                                           const LlamaDefaults& defaults = {});

/// Error(kMismatch) where the config asks for stored weights in a quantised form.
void refuse_quantization(const Json& config);
/// heads, kv_heads and d_head with the checks that they fit each other; scale 1 / sqrt(d_head).
[[nodiscard]] AttentionSpec make_attention(std::int64_t heads, std::int64_t kv_heads,
                                           std::int64_t d_head);
/// d_model / heads; an error where heads do not divide it.
[[nodiscard]] std::int64_t divided_head(std::int64_t d_model, std::int64_t heads,
                                        std::string_view heads_key);
/// `window` on the layers that `sliding` marks.
void set_windows(DecoderSpec& spec, const std::vector<bool>& sliding, std::int64_t window);
/// sliding_window where use_sliding_window says so, else 0. kMismatch where layer_types name layers
/// of a window that is 0: releases of transformers differ there.
[[nodiscard]] std::int64_t read_used_window(const Json& config, std::int64_t fallback);
/// sliding_window, which layer_types or max_window_layers confine to some layers where
/// use_sliding_window says so (Qwen).
void read_qwen_windows(const Json& config, DecoderSpec& spec);

/// Keys under which a family's config has the sizes of its mixtures.
struct MoeKeys {
  std::string_view experts, d_ff;
  std::string_view top_k = "num_experts_per_tok";
};
/// Sizes of a mixture: softmax router, experts apart, none shared.
[[nodiscard]] MoeSpec read_moe(const Json& config, const MoeKeys& keys);
/// Every decoder_sparse_step-th layer is a mixture, but those of mlp_only_layers.
void read_qwen_mixtures(const Json& config, DecoderSpec& spec);

}  // namespace lancet
