#pragma once
// Tensor names of GGUF and of transformers, and how the values that go with each lie: tables by
// family (families.cpp). Source: the GGUF specification and the tables of the `gguf` package.

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace lancet {

/// How GGUF stores a tensor's rows compared with transformers. kQueryHeads, kKeyHeads: for each
/// head of width D, row 2i + j of GGUF = row j * D/2 + i of transformers (j in {0, 1}).
/// kGroupedQkv: transformers has for each key head its query heads, k and v, GGUF all q, all k, all
/// v. kTransposed: transformers' matrix lies [in, out] (vectors are the same). kExperts: a stack
/// [experts, in, out] for [experts, out, in]. kGateUp: the same of two GGUF tensors, whose columns
/// take turns in that of transformers; [experts, 2 out] of two [experts, out]. kLatentKv: for each
/// head the rows of its keys, then of its values; GGUF has two stacks, keys [heads, rank, keys] and
/// values [heads, values, rank].
enum class RowOrder : std::uint8_t {
  kSame,
  kQueryHeads,
  kKeyHeads,
  kGroupedQkv,
  kTransposed,
  kExperts,
  kGateUp,
  kLatentKv
};

/// GGUF's values by those of transformers: the same, 1 more (Gemma's norms), or -exp of them (a
/// state space's A).
enum class ValueMap : std::uint8_t { kSame, kPlusOne, kMinusExp };

/// What transformers has for a GGUF tensor: its shape, [1, n] for [n], or [n, 1, k] for [n, k].
enum class HfShape : std::uint8_t { kSame, kRow, kChannels };

/// Names without ".weight" / ".bias"; the first `{}` stands for the layer. A second one in `hf`
/// stands for the expert: GGUF has the experts stacked in one tensor.
struct NameRule {
  std::string_view gguf;
  std::string_view hf;
  RowOrder rows = RowOrder::kSame;
  ValueMap values = ValueMap::kSame;
  HfShape shape = HfShape::kSame;
  std::string_view when = {};    ///< read from GGUF only beside this tensor, and then before others
  bool bare = false;             ///< neither side's name goes on with ".weight" or ".bias"
  std::string_view second = {};  ///< the other GGUF tensor of kGateUp and kLatentKv
  bool old = false;              ///< read, but no longer written

  [[nodiscard]] bool stacked() const noexcept { return hf.find("{}") != hf.rfind("{}"); }
};

/// How config.json of a family spells what every decoder has; empty = it does not say.
struct ConfigKeys {
  std::string_view layers = "num_hidden_layers", width = "hidden_size",
                   heads = "num_attention_heads", kv_heads = "num_key_value_heads",
                   d_ff = "intermediate_size", context = "max_position_embeddings",
                   eps = "rms_norm_eps", activation = "hidden_act";
};

/// A number beside those: "ARCH.gguf" of the metadata and `hf` of config.json.
struct ExtraKey {
  enum class Kind : std::uint8_t { kInteger, kNumber, kFlag };
  std::string_view gguf, hf;
  Kind kind = Kind::kInteger;
  bool required = true;  ///< in both
};

struct NameFamily {
  std::string_view gguf_architecture;          ///< general.architecture
  std::span<const std::string_view> hf_types;  ///< model_type; the first is what a GGUF becomes
  std::string_view hf_class;                   ///< architectures[0] of config.json
  bool attention_bias = false;                 ///< q, k, v have biases whatever the config says
  std::array<std::span<const NameRule>, 4> rules = {};
  ConfigKeys keys = {};
  bool layer_norm = false;  ///< its epsilon is layer_norm_epsilon
  bool tied = false;        ///< where config.json does not say whether the head is the embedding
  bool rope = true;
  bool attention = true;  ///< false: a state space in every layer, no heads, no MLP
  bool latent = false;    ///< keys and values from a latent vector (DeepSeek)
  double partial = 1;     ///< part of a head that is rotated, where config.json does not say
  /// Those of llama.cpp; the first goes without saying, others are hidden_activation's.
  std::span<const std::string_view> activations = {};
  std::span<const ExtraKey> extra = {};
  /// Members that the GGUF implies, as JSON: other values have no GGUF form.
  std::string_view fixed = "{}";
  /// What absent members of config.json mean, as JSON, where the writer of metadata would take
  /// other values. Those of transformers.
  std::string_view defaults = "{}";
};

/// Null when the family is not known. `experts`: one of a Llama's namesakes has them; `sigmoid`:
/// of DeepSeek's, the one whose router is made of sigmoids.
[[nodiscard]] const NameFamily* family_of_gguf(std::string_view architecture, bool experts = false,
                                               bool sigmoid = false) noexcept;
[[nodiscard]] const NameFamily* family_of_model_type(std::string_view model_type) noexcept;
[[nodiscard]] std::span<const NameFamily> name_families() noexcept;
/// "llama, qwen2, ...": for messages.
[[nodiscard]] std::string known_gguf_architectures();

struct MappedName {
  std::string name;  ///< of transformers with a "{}" for the expert where `rule` is stacked
  const NameRule* rule = nullptr;
  std::int64_t expert = -1;  ///< of transformers' name
  std::string second;        ///< GGUF's other tensor, where the rule has one
  bool is_second = false;    ///< the GGUF name was that of the other tensor
};

/// The other side's name, or nothing when no rule fits. `has`: whether the GGUF has a tensor.
[[nodiscard]] std::optional<MappedName> gguf_to_hf_name(
    const NameFamily& family, std::string_view gguf,
    const std::function<bool(std::string_view)>& has = {});
[[nodiscard]] std::optional<MappedName> hf_to_gguf_name(const NameFamily& family,
                                                        std::string_view hf);

/// Row of the GGUF matrix that holds row `row` of transformers' matrix [heads * head_dim, ...], and
/// back.
[[nodiscard]] constexpr std::int64_t gguf_row(std::int64_t row, std::int64_t head_dim) noexcept {
  const std::int64_t in_head = row % head_dim;
  const std::int64_t half = head_dim / 2;
  return row - in_head + 2 * (in_head % half) + in_head / half;
}
[[nodiscard]] constexpr std::int64_t hf_row(std::int64_t row, std::int64_t head_dim) noexcept {
  const std::int64_t in_head = row % head_dim;
  return row - in_head + (in_head % 2) * (head_dim / 2) + in_head / 2;
}

/// A value of GGUF from transformers', and back.
[[nodiscard]] float gguf_value(ValueMap map, float value) noexcept;
[[nodiscard]] float hf_value(ValueMap map, float value) noexcept;

/// The same of kGroupedQkv with `group` query heads for each of `kv_heads`.
[[nodiscard]] constexpr std::int64_t gguf_qkv_row(std::int64_t row, std::int64_t head_dim,
                                                  std::int64_t group,
                                                  std::int64_t kv_heads) noexcept {
  const std::int64_t of = row / ((group + 2) * head_dim);
  const std::int64_t slot = row / head_dim % (group + 2), in_head = row % head_dim;
  const std::int64_t head =
      slot < group ? of * group + slot : group * kv_heads + (slot - group) * kv_heads + of;
  return head * head_dim + in_head;
}

}  // namespace lancet
