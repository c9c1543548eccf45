#pragma once
// Tensor names of GGUF and of transformers, and the order of rows that goes with each: one table
// per family. A family is added by one row of kFamilies in name_map.cpp.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace lancet {

/// How GGUF stores a tensor's rows compared with transformers. The permuted kinds hold, for each
/// head of width D, row 2i + j of GGUF = row j * D/2 + i of transformers (j in {0, 1}).
enum class RowOrder : std::uint8_t { kSame, kQueryHeads, kKeyHeads };

/// Names without ".weight" / ".bias"; `{}` stands for the layer number.
struct NameRule {
  std::string_view gguf;
  std::string_view hf;
  RowOrder rows = RowOrder::kSame;
};

struct NameFamily {
  std::string_view gguf_architecture;          ///< general.architecture
  std::span<const std::string_view> hf_types;  ///< model_type; the first is what a GGUF becomes
  std::string_view hf_class;                   ///< architectures[0] of config.json
  bool attention_bias;                         ///< q, k, v have biases whatever the config says
  std::span<const NameRule> rules;
};

/// Null when the family is not known.
[[nodiscard]] const NameFamily* family_of_gguf(std::string_view architecture) noexcept;
[[nodiscard]] const NameFamily* family_of_model_type(std::string_view model_type) noexcept;
/// "llama, qwen2, ...": for messages.
[[nodiscard]] std::string known_gguf_architectures();

struct MappedName {
  std::string name;
  RowOrder rows = RowOrder::kSame;
};

/// The other side's name, or nothing when no rule fits.
[[nodiscard]] std::optional<MappedName> gguf_to_hf_name(const NameFamily& family,
                                                        std::string_view gguf);
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

}  // namespace lancet
