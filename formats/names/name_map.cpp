#include "formats/names/name_map.h"

#include <array>

#include <fmt/format.h>

namespace lancet {
namespace {

// Decoders whose ggml RoPE type is NORM are stored with permuted query and key rows, those of type
// NEOX are not.
constexpr std::array kLlamaRules = {
    NameRule{"token_embd", "model.embed_tokens"},
    NameRule{"output_norm", "model.norm"},
    NameRule{"output", "lm_head"},
    NameRule{"blk.{}.attn_norm", "model.layers.{}.input_layernorm"},
    NameRule{"blk.{}.attn_q", "model.layers.{}.self_attn.q_proj", RowOrder::kQueryHeads},
    NameRule{"blk.{}.attn_k", "model.layers.{}.self_attn.k_proj", RowOrder::kKeyHeads},
    NameRule{"blk.{}.attn_v", "model.layers.{}.self_attn.v_proj"},
    NameRule{"blk.{}.attn_output", "model.layers.{}.self_attn.o_proj"},
    NameRule{"blk.{}.ffn_norm", "model.layers.{}.post_attention_layernorm"},
    NameRule{"blk.{}.ffn_gate", "model.layers.{}.mlp.gate_proj"},
    NameRule{"blk.{}.ffn_up", "model.layers.{}.mlp.up_proj"},
    NameRule{"blk.{}.ffn_down", "model.layers.{}.mlp.down_proj"},
};

constexpr std::array kQwenRules = {
    NameRule{"token_embd", "model.embed_tokens"},
    NameRule{"output_norm", "model.norm"},
    NameRule{"output", "lm_head"},
    NameRule{"blk.{}.attn_norm", "model.layers.{}.input_layernorm"},
    NameRule{"blk.{}.attn_q", "model.layers.{}.self_attn.q_proj"},
    NameRule{"blk.{}.attn_k", "model.layers.{}.self_attn.k_proj"},
    NameRule{"blk.{}.attn_v", "model.layers.{}.self_attn.v_proj"},
    NameRule{"blk.{}.attn_output", "model.layers.{}.self_attn.o_proj"},
    NameRule{"blk.{}.attn_q_norm", "model.layers.{}.self_attn.q_norm"},
    NameRule{"blk.{}.attn_k_norm", "model.layers.{}.self_attn.k_norm"},
    NameRule{"blk.{}.ffn_norm", "model.layers.{}.post_attention_layernorm"},
    NameRule{"blk.{}.ffn_gate", "model.layers.{}.mlp.gate_proj"},
    NameRule{"blk.{}.ffn_up", "model.layers.{}.mlp.up_proj"},
    NameRule{"blk.{}.ffn_down", "model.layers.{}.mlp.down_proj"},
};

constexpr std::array<std::string_view, 2> kLlamaTypes = {"llama", "mistral"};
constexpr std::array<std::string_view, 1> kQwen2Types = {"qwen2"};
constexpr std::array<std::string_view, 1> kQwen3Types = {"qwen3"};

constexpr std::array kFamilies = {
    NameFamily{"llama", kLlamaTypes, "LlamaForCausalLM", false, kLlamaRules},
    NameFamily{"qwen2", kQwen2Types, "Qwen2ForCausalLM", true, kQwenRules},
    NameFamily{"qwen3", kQwen3Types, "Qwen3ForCausalLM", false, kQwenRules},
};

/// Matches `text` against a pattern with at most one `{}` (a decimal number without leading zeros);
/// `layer` receives the number's text.
bool matches(std::string_view pattern, std::string_view text, std::string_view& layer) {
  const std::size_t hole = pattern.find("{}");
  if (hole == std::string_view::npos) return pattern == text;
  const std::string_view before = pattern.substr(0, hole);
  const std::string_view after = pattern.substr(hole + 2);
  if (text.size() <= before.size() + after.size() || !text.starts_with(before) ||
      !text.ends_with(after)) {
    return false;
  }
  layer = text.substr(before.size(), text.size() - before.size() - after.size());
  if (layer.size() > 6 || (layer.size() > 1 && layer.front() == '0')) return false;
  return layer.find_first_not_of("0123456789") == std::string_view::npos;
}

std::optional<MappedName> map_name(const NameFamily& family, std::string_view name, bool to_hf) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const std::string_view suffix = name.substr(dot);
  if (suffix != ".weight" && suffix != ".bias") return std::nullopt;
  for (const NameRule& rule : family.rules) {
    std::string_view layer;
    if (!matches(to_hf ? rule.gguf : rule.hf, name.substr(0, dot), layer)) continue;
    std::string out(to_hf ? rule.hf : rule.gguf);
    if (const std::size_t hole = out.find("{}"); hole != std::string::npos)
      out.replace(hole, 2, layer);
    return MappedName{out.append(suffix), rule.rows};
  }
  return std::nullopt;
}

}  // namespace

const NameFamily* family_of_gguf(std::string_view architecture) noexcept {
  for (const NameFamily& family : kFamilies) {
    if (family.gguf_architecture == architecture) return &family;
  }
  return nullptr;
}

const NameFamily* family_of_model_type(std::string_view model_type) noexcept {
  for (const NameFamily& family : kFamilies) {
    for (const std::string_view type : family.hf_types) {
      if (type == model_type) return &family;
    }
  }
  return nullptr;
}

std::string known_gguf_architectures() {
  std::string out;
  for (const NameFamily& family : kFamilies) {
    out += fmt::format("{}{}", out.empty() ? "" : ", ", family.gguf_architecture);
  }
  return out;
}

std::optional<MappedName> gguf_to_hf_name(const NameFamily& family, std::string_view gguf) {
  return map_name(family, gguf, true);
}

std::optional<MappedName> hf_to_gguf_name(const NameFamily& family, std::string_view hf) {
  return map_name(family, hf, false);
}

}  // namespace lancet
