#pragma once
// A decoder as data: the primitives that families are put together from. The engine (decoder.h)
// knows these and no family; a primitive that is not asked for costs nothing.

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace lancet {

/// How a matrix lies on disk: Linear keeps [out, in], GPT-2's Conv1D keeps [in, out]. Declared,
/// never guessed.
enum class MatrixLayout { kOutIn, kInOut };

enum class NormKind { kRms, kLayer };
struct NormSpec {
  NormKind kind = NormKind::kRms;
  double eps = 1e-5;
  double weight_offset = 0;  ///< 1 for Gemma's (1 + w)
  bool scale_before_cast =
      false;  ///< Gemma, OLMo 2 multiply the weight in float32; Llama after the cast back
  bool weight = true, bias = true;  ///< tensors it has; an RMS norm never has a bias
};

/// Rows of so many tokens behind a cache are computed one by one wherever a function of LibTorch,
/// or a product of matrices in place of a sum, would give them other bits than a token that comes
/// alone has: what Session::feed_ahead takes at once.
inline constexpr std::int64_t kFewTokens = 16;

enum class RopeKind { kNone, kDefault, kLinear, kDynamic, kLlama3, kYarn, kLongRope };
struct RopeSpec {
  RopeKind kind = RopeKind::kDefault;
  double theta = 10000;
  std::int64_t dims = 0;  ///< rotated dimensions of each head, its first (== d_head unless partial)
  bool interleaved = false;  ///< pairs (2i, 2i+1) instead of (i, i + dims/2)
  double factor = 1;
  double low_freq_factor = 1, high_freq_factor = 4;
  std::int64_t original_positions = 0;
  double beta_fast = 32, beta_slow = 1;
  bool yarn_truncate = true;    ///< round the borders of YaRN's ramp to whole dimensions
  double attention_factor = 1;  ///< multiplies cos and sin
  std::vector<double> short_factors, long_factors;
};

enum class Activation {
  kSilu,
  kGelu,
  kGeluTanh,
  kQuickGelu,  ///< x sigmoid(1.702 x)
  kRelu,
  kRelu2,
  kClampedSwiglu  ///< gpt_oss: g = min(g, 7), u = clamp(u, -7, 7), (u + 1) g sigmoid(1.702 g)
};

/// q, k and v on disk. kConcat: rows q, k, v. kGrouped: for each key/value head its query heads,
/// then k, then v (GPT-NeoX, BLOOM, Falcon).
enum class QkvLayout { kSeparate, kConcat, kGrouped };

/// What a norm of q and k runs over: one weight for every head [d_head], a weight for each head
/// [heads, d_head], or all heads at once [heads * d_head].
enum class QkNormWidth { kNone, kHead, kEachHead, kFull };

/// Multi-head latent attention: keys and values out of a vector of kv_rank dimensions, beside one
/// rotated key of d_rope dimensions for all heads.
struct LatentSpec {
  std::int64_t q_rank = 0;  ///< 0: q is one projection
  std::int64_t kv_rank = 0;
  std::int64_t d_rope = 0, d_plain = 0, d_value = 0;  ///< per head; d_head = d_rope + d_plain
  NormSpec norm;
  bool bias = false;  ///< of the projections to the latent vectors
};

struct AttentionSpec {
  std::int64_t heads = 0, kv_heads = 0, d_head = 0;
  double scale = 0;    ///< of the dot products
  double softcap = 0;  ///< 0 = none
  double clip = 0;     ///< q, k and v are clamped to [-clip, clip]; 0 = not
  bool qkv_bias = false, out_bias = false;
  QkvLayout qkv = QkvLayout::kSeparate;
  QkNormWidth qk_norm = QkNormWidth::kNone;  ///< before RoPE
  NormSpec qk_norm_spec;
  bool sinks = false;  ///< a learned logit of each head takes part in the softmax, without a value
  std::vector<float> alibi;     ///< slope of each head: adds slope * key position to the scores
  bool alibi_bfloat16 = false;  ///< slope * position is rounded to bfloat16 (Falcon)
  double alibi_scale = 1;       ///< of the rounded product
  bool latent = false;
  LatentSpec mla;
  /// Where RoPE is off, query t is multiplied by 1 + temperature_scale *
  /// log(1 + floor((t + 1) / temperature_floor)) (Llama 4); 0 = not.
  double temperature_floor = 0, temperature_scale = 0;
};

struct MlpSpec {
  std::int64_t d_ff = 0;
  Activation activation = Activation::kSilu;
  bool gated = true;
  bool bias = false;
};

/// How router logits become weights of the chosen experts: softmax over all of them, sigmoid of
/// each, or softmax over the chosen ones.
enum class RouterKind { kSoftmax, kSigmoid, kSoftmaxOfChosen };
/// Experts on disk: a matrix each, or one tensor [experts, out, in] / [experts, in, out] for each
/// of gate_up and down.
enum class ExpertLayout { kSeparate, kStacked };

struct MoeSpec {
  std::int64_t experts = 0, top_k = 0, d_ff = 0;
  std::int64_t shared_d_ff = 0;  ///< of the expert that sees every token; 0 = none
  bool shared_gate = false;      ///< its output is times sigmoid of a learned projection
  RouterKind router = RouterKind::kSoftmax;
  bool router_bias = false;
  bool correction = false;   ///< a learned bias takes part in the choice, not in the weight
  bool normalize = false;    ///< weights of the chosen sum to 1
  double normalize_eps = 0;  ///< added to that sum
  double scale = 1;          ///< of the weights, after normalising
  bool weigh_input = false;  ///< the weight multiplies the expert's input, not its output (Llama 4)
  std::int64_t groups = 1, top_groups = 1;  ///< only experts of the best groups are chosen
  std::int64_t group_best = 1;              ///< a group's score: sum of so many of its best experts
  ExpertLayout layout = ExpertLayout::kSeparate;
  MatrixLayout matrix = MatrixLayout::kOutIn;  ///< of one expert
  bool interleaved = false;  ///< of gate_up: gate and up take turns instead of gate first
  bool bias = false;
};

/// How dt, B and C of a state space come about. kMamba1: from the convolved x, by one projection to
/// a narrow dt, B and C, and one from there to dt. kMamba2: from the block's input, beside x; B and
/// C pass through the convolution too, and a norm stands behind the gate.
enum class SsmKind { kMamba1, kMamba2 };

/// A selective state space, in place of attention. Each of heads * d_head channels has a state h of
/// d_state numbers: h <- exp(dt A) h + dt x B, y = C h + D x, with dt, A and D of its head and with
/// B and C of its head's group. Before it a causal convolution over d_conv tokens, channel by
/// channel; behind it y is times silu(z).
struct SsmSpec {
  SsmKind kind = SsmKind::kMamba1;
  std::int64_t heads = 0, d_head = 1;  ///< Mamba 1: heads of one channel
  std::int64_t groups = 1;
  std::int64_t d_state = 0;  ///< Mamba 1 has an A for each of them
  std::int64_t d_conv = 0;
  std::int64_t dt_rank = 0;                   ///< of Mamba 1
  Activation activation = Activation::kSilu;  ///< behind the convolution
  bool conv_bias = true, bias = false;        ///< of the convolution; of in_proj and out_proj
  bool inner_norms = false;                   ///< of the narrow dt, B and C (Jamba)
  NormSpec norm;                              ///< those, or the one behind Mamba 2's gate
  double dt_min = 0, dt_max = std::numeric_limits<double>::infinity();  ///< dt is clamped to them

  [[nodiscard]] std::int64_t width() const noexcept { return heads * d_head; }
  /// Channels of the convolution.
  [[nodiscard]] std::int64_t conv_width() const noexcept {
    return width() + (kind == SsmKind::kMamba2 ? 2 * groups * d_state : 0);
  }
};

/// One block of the decoder.
struct LayerSpec {
  std::int64_t window = 0;  ///< keys seen by a query, its own among them; 0 = all before it
  std::int64_t chunk = 0;   ///< keys seen: those since the last multiple of `chunk`; 0 = not so
  std::int64_t rope = 0;    ///< index into ropes; -1 = none
  bool qk_norm = true;      ///< where the attention has one
  double query_scale = 1;   ///< of the queries, beside the attention's scale
  bool moe = false;
  bool mlp = true;   ///< false: the block ends behind attention or state space
  bool ssm = false;  ///< a state space instead of attention
};

/// Names of a feed-forward network. `gate_up` (gate first) stands in for gate and up.
struct MlpNames {
  std::string gate, up, gate_up, down;
};

/// Names of a state space. `a_log`, `d` and `dt_bias` are whole names.
struct SsmNames {
  std::string in, conv, x, dt, a_log, d, dt_bias, out;
  std::string dt_norm, b_norm, c_norm, norm;
};

/// Tensor names; the first "{}" stands for the layer, the second for the expert or the head. Those
/// left empty are not there. ".weight" and ".bias" are added by the engine; `sinks`, `correction`
/// and stacked experts are whole names ("_bias" is added to the latter).
struct NameSpec {
  std::string embed, positions, embed_norm, project_in, project_out, final_norm, head;
  // A block. attn_norm stands before attention, attn_post_norm on its output, attn_add_norm on the
  // sum with the residual stream; mlp_* alike. In a parallel block mlp_norm may be attn_norm.
  std::string attn_norm, attn_post_norm, attn_add_norm;
  std::string q, k, v, qkv, o, q_norm, k_norm, sinks;
  std::string q_a, q_a_norm, q_b, kv_a, kv_a_norm, kv_b;  ///< of latent attention
  std::string mlp_norm, mlp_post_norm, mlp_add_norm;
  MlpNames mlp, expert, shared;
  SsmNames ssm;
  std::string router, correction, shared_gate;
};

/// Token ids [first, last).
using IdRange = std::pair<std::int64_t, std::int64_t>;

/// Beginnings of names that some files of a family spell differently: a name takes the second of
/// the first pair whose first it begins with.
using Respelling = std::vector<std::pair<std::string, std::string>>;

struct DecoderSpec {
  std::string model_type;
  std::int64_t layers = 0, d_model = 0, vocab = 0, max_positions = 0;
  std::int64_t d_embed = 0;          ///< width of the embedding where it is projected; 0 = d_model
  std::int64_t position_offset = 0;  ///< row of the learned positions that stands for position 0
  bool tied_head = false;            ///< head is the embedding matrix
  bool head_bias = false;
  double embed_scale = 1, residual_scale = 1, logit_scale = 1;
  double logit_softcap = 0;
  std::vector<IdRange> masked_ids;  ///< never said
  std::vector<IdRange> image_ids;   ///< stand for parts of an image
  bool parallel = false;            ///< attention and MLP both read the block's input
  bool normed_residual = false;     ///< the residual is the normed input (BLOOM's option)
  NormSpec norm;
  std::vector<RopeSpec> ropes;
  AttentionSpec attention;
  MlpSpec mlp;
  MoeSpec moe;
  SsmSpec ssm;
  std::vector<LayerSpec> layer;  ///< one for each layer
  NameSpec names;
  MatrixLayout layout = MatrixLayout::kOutIn;  ///< of the blocks' matrices
  std::vector<Respelling> respellings;         ///< other spellings that are read too
  std::vector<std::string> ignored;  ///< patterns of tensors that files may hold beside these
};

}  // namespace lancet
