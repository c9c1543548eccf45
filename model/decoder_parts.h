#pragma once
// What a Decoder is bound to: views of its weights by their part in the pass. For the decoder's own
// files.

#include <cstdint>
#include <vector>

#include "model/attention.h"
#include "model/decoder.h"
#include "model/linear.h"
#include "model/norm.h"
#include "model/ssm.h"

namespace lancet {

/// Norm of q or k before RoPE. `each` and `shift`, where defined, are [heads * d_head]: weights
/// that differ from head to head.
struct QkNorm {
  Norm norm;
  at::Tensor each, shift;
};

struct AttentionPart {
  std::vector<Linear> qkv;  ///< q, k, v, or one for all
  QkNorm q_norm, k_norm;
  at::Tensor sinks;  ///< float32 [heads], or undefined
  Linear out;
  // Of latent attention, instead of qkv.
  std::vector<Linear> down;  ///< to the latent vectors: q_a (or q), kv_a
  Norm q_latent_norm, kv_latent_norm;
  Linear q_up, kv_up;
};

struct MlpPart {
  Activation activation = Activation::kSilu;
  std::vector<Linear> inner;  ///< gate, up; gate_up as one (see `fused`); without a gate: up alone
  bool fused = false, interleaved = false;
  Linear down;
};

struct MoePart {
  Linear router;
  at::Tensor correction;  ///< float32 [experts] or undefined
  std::vector<MlpPart> experts;
  MlpPart shared;      ///< no inner layers: none
  Linear shared_gate;  ///< undefined weight: none
};

struct Decoder::Block {
  // Those without a weight are not there.
  Norm attn_norm, attn_post_norm, attn_add_norm, mlp_norm, mlp_post_norm, mlp_add_norm;
  AttentionPart attention;
  SsmPart ssm;               ///< instead of attention
  bool shared_norm = false;  ///< the MLP of a parallel block reads what attention reads
  MlpPart mlp;               ///< where the block has one
  MoePart moe;               ///< instead of mlp where it has experts
};

/// What stands before the first block and behind the last one.
struct Decoder::Ends {
  Linear embed;  ///< the token table, as kInOut
  at::Tensor positions;
  Norm embed_norm, final_norm;
  Linear project_in, project_out, head;
  at::Tensor masked;  ///< bool [vocab]: never said; undefined = none
};

/// One pass through attention, from a block's normed input to the input of its output projection:
/// [batch, tokens, heads * d_head (or d_value)].
[[nodiscard]] at::Tensor run_attention(const AttentionPart& part, const LayerSpec& layer,
                                       const Derived& x, const AttentionPass& pass);

/// What the down projection reads: the key of an editor.
[[nodiscard]] Derived mlp_key(const MlpPart& part, const Derived& x);

/// Routed and shared experts: [batch, tokens, d_model] -> the same.
[[nodiscard]] at::Tensor run_experts(const MoePart& part, const MoeSpec& spec, const at::Tensor& x);

/// Decoder::expert_keys.
[[nodiscard]] at::Tensor gated_keys(const MoePart& part, const MoeSpec& spec, const at::Tensor& x);

/// Which experts each token takes, and with what weight: int64 and float32 [rows, top_k].
struct Routes {
  at::Tensor experts, weights;
};
[[nodiscard]] Routes route(const at::Tensor& logits, const at::Tensor& correction,
                           const MoeSpec& spec);

}  // namespace lancet
