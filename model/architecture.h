#pragma once
// A decoder described by data. One file per family in model/architectures/ turns config.json into a
// DecoderSpec; the engine (decoder.h) knows primitives, never families.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

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
};

enum class RopeKind { kNone, kDefault, kLinear, kDynamic, kLlama3, kYarn, kLongRope };
struct RopeSpec {
  RopeKind kind = RopeKind::kDefault;
  double theta = 10000;
  std::int64_t dims = 0;     ///< rotated dimensions of each head (== d_head unless partial)
  bool interleaved = false;  ///< pairs (2i, 2i+1) instead of (i, i + dims/2)
  double factor = 1;
  double low_freq_factor = 1, high_freq_factor = 4;
  std::int64_t original_positions = 0;
  double beta_fast = 32, beta_slow = 1;
  bool yarn_truncate = true;    ///< round the borders of YaRN's ramp to whole dimensions
  double attention_factor = 1;  ///< multiplies cos and sin
  std::vector<double> short_factors, long_factors;
};

enum class Activation { kSilu, kGelu, kGeluTanh, kRelu, kRelu2 };

struct AttentionSpec {
  std::int64_t heads = 0, kv_heads = 0, d_head = 0;
  double scale = 0;    ///< of the dot products
  double softcap = 0;  ///< 0 = none
  bool qkv_bias = false, out_bias = false;
  bool qk_norm = false;              ///< per-head RMS norm of q and k before RoPE
  std::vector<std::int64_t> window;  ///< per layer, 0 = full attention
};

struct MlpSpec {
  std::int64_t d_ff = 0;
  Activation activation = Activation::kSilu;
  bool gated = true;
  bool bias = false;
};

/// Tensor names; "{}" stands for the layer.
struct NameSpec {
  std::string embed, final_norm, head;
  std::string attn_norm, q, k, v, o, q_norm, k_norm;
  std::string mlp_norm, gate, up, down;
};

struct DecoderSpec {
  std::string model_type;
  std::int64_t layers = 0, d_model = 0, vocab = 0, max_positions = 0;
  bool tied_head = false;  ///< head is the embedding matrix
  double embed_scale = 1;
  double logit_softcap = 0;
  NormSpec norm;
  RopeSpec rope;
  AttentionSpec attention;
  MlpSpec mlp;
  NameSpec names;  ///< ".weight"/".bias" are added by the engine
  MatrixLayout layout = MatrixLayout::kOutIn;
};

/// Descriptor at the end of each file of model/architectures/; the file is named as the model_type.
struct Architecture {
  std::string_view name;  ///< model_type of config.json
  std::string_view title;
  std::string_view paper;
  /// Reads every option of the config that changes the forward pass; an option with a value that
  /// the engine cannot honour is Error(kMismatch) naming key and value, never ignored.
  DecoderSpec (*describe)(const Json& config);
};

[[nodiscard]] std::span<const Architecture* const> architecture_registry();

/// The spec for a config.json; an unknown model_type is Error(kMismatch) with the nearest supported
/// one.
[[nodiscard]] DecoderSpec describe_decoder(const Json& config);

}  // namespace lancet
