#include "formats/config/to_gguf.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "formats/config/family_rules.h"

namespace lancet {
namespace {

constexpr std::string_view kConfig = "config.json";
constexpr std::uint32_t kQuantizationVersion = 2;
constexpr std::uint32_t kFileTypeQ8_0 = 7;

[[noreturn]] void unsupported(const std::string& message) {
  fail(ErrorKind::kMismatch, "gguf", "config.json: " + message,
       "write a Hugging Face directory instead");
}

std::int64_t size_of(const Json& config, std::string_view key) {
  const std::int64_t value = json_int(config, key, kConfig);
  if (value < 1 || value > std::numeric_limits<std::int32_t>::max()) {
    fail(ErrorKind::kInput, "gguf",
         fmt::format("config.json: expected a positive {}, found {}", key, value));
  }
  return value;
}

std::int64_t size_or(const Json& config, std::string_view key, std::int64_t fallback) {
  const auto found = config.find(key);
  return found == config.end() || found->is_null() ? fallback : size_of(config, key);
}

std::string activation_of(const Json& config, const NameFamily& family) {
  return json_string(config, family.keys.activation, kConfig,
                     std::string(family.activations.front()));
}

void put_scaling(const RopeSettings& rope, const std::string& arch, GgufMetadata& out) {
  out.emplace_back(arch + ".rope.freq_base", gguf_f32(rope.theta));
  if (rope.type == "longrope")  // its factors are tensors, its first length one of the extra keys
    out.emplace_back(arch + ".rope.scaling.attn_factor", gguf_f32(rope.attention_factor));
  if (rope.type != "linear" && rope.type != "yarn") return;  // llama3 is said by rope_freqs.weight
  out.emplace_back(arch + ".rope.scaling.type", gguf_string(rope.type));
  out.emplace_back(arch + ".rope.scaling.factor", gguf_f32(rope.factor));
  if (rope.original_context > 0) {
    out.emplace_back(arch + ".rope.scaling.original_context_length",
                     gguf_u32(rope.original_context));
  }
  if (rope.mscale != 0)
    out.emplace_back(arch + ".rope.scaling.yarn_log_multiplier", gguf_f32(0.1 * rope.mscale));
}

/// As llama.cpp computes: one key head, of the latent vector and the rotated part.
void put_latent(const Json& config, const std::string& arch, const DecoderSizes& sizes,
                GgufMetadata& out) {
  const std::string key = arch + ".attention.";
  const std::int64_t rank = size_or(config, "kv_lora_rank", 512);
  out.emplace_back(key + "head_count_kv", gguf_u32(1));
  out.emplace_back(key + "key_length", gguf_u32(rank + sizes.rotated));
  out.emplace_back(key + "value_length", gguf_u32(rank));
  out.emplace_back(key + "key_length_mla", gguf_u32(sizes.head_dim));
  out.emplace_back(key + "value_length_mla", gguf_u32(size_or(config, "v_head_dim", 128)));
  out.emplace_back(key + "kv_lora_rank", gguf_u32(rank));
  if (const std::int64_t q_rank = size_or(config, "q_lora_rank", 0); q_rank > 0)
    out.emplace_back(key + "q_lora_rank", gguf_u32(q_rank));
}

void check_scaling(const DecoderSizes& sizes, const NameFamily& family) {
  const bool truncated = family.gguf_architecture != "gpt-oss";
  if (sizes.rope.type == "yarn" && sizes.rope.truncate != truncated)
    unsupported(fmt::format("expected truncate {} of yarn in this architecture's GGUF, found {}",
                            truncated, sizes.rope.truncate));
  // llama.cpp scales cosine and sine of all families but for this one, whose scores it scales.
  if (sizes.rope.type == "yarn" && (sizes.rope.mscale != 0) != family.latent)
    unsupported(fmt::format("expected {}mscale_all_dim of yarn in this architecture's GGUF",
                            family.latent ? "" : "no "));
  if (sizes.rope.type == "llama3" &&
      !llama3_of_divisors(sizes.rope.theta, llama3_divisors(sizes.rope, sizes.head_dim)))
    unsupported(fmt::format(
        "expected llama3 scaling with 0 < low_freq_factor < high_freq_factor and a factor above 1, "
        "found {}, {} and {}",
        sizes.rope.low_freq_factor, sizes.rope.high_freq_factor, sizes.rope.factor));
  if (sizes.rope.type != "longrope") return;
  if (family.gguf_architecture != "phi3")
    unsupported("longrope scaling has no place in the GGUF architecture " +
                std::string(family.gguf_architecture));
  for (const std::vector<float>* factors : {&sizes.rope.short_factors, &sizes.rope.long_factors}) {
    if (std::cmp_equal(factors->size() * 2, sizes.rotated)) continue;
    fail(ErrorKind::kInput, "gguf",
         fmt::format("config.json: expected {} factors of longrope, found {}", sizes.rotated / 2,
                     factors->size()));
  }
}

}  // namespace

GgufValue gguf_string(std::string value) {
  return {GgufType::kString, GgufType::kU32, std::move(value)};
}
GgufValue gguf_u32(std::int64_t value) {
  return {GgufType::kU32, GgufType::kU32, static_cast<std::uint64_t>(value)};
}
GgufValue gguf_f32(double value) { return {GgufType::kF32, GgufType::kU32, value}; }
GgufValue gguf_bool(bool value) { return {GgufType::kBool, GgufType::kU32, value}; }

DecoderSizes decoder_sizes(const Json& config, const NameFamily& family) {
  const ConfigKeys& keys = family.keys;
  const std::string act = activation_of(config, family);
  if (std::ranges::find(family.activations, act) == family.activations.end()) {
    unsupported(fmt::format("expected {} {}, found '{}'", keys.activation,
                            family.activations.front(), printable(act)));
  }
  DecoderSizes sizes;
  sizes.vocab = size_of(config, "vocab_size");
  sizes.tied = json_bool(config, "tie_word_embeddings", kConfig, family.tied);
  if (!family.attention) return sizes;
  sizes.heads = size_of(config, keys.heads);
  if (family.latent) {
    sizes.kv_heads = sizes.heads;
    sizes.rotated = size_or(config, "qk_rope_head_dim", 64);
    sizes.head_dim = size_or(config, "qk_nope_head_dim", 128) + sizes.rotated;
    sizes.rope = rope_from_config(config);
    check_scaling(sizes, family);
    return sizes;
  }
  sizes.kv_heads =
      keys.kv_heads.empty() ? sizes.heads : size_or(config, keys.kv_heads, sizes.heads);
  sizes.head_dim = size_or(config, "head_dim", size_of(config, keys.width) / sizes.heads);
  if (family.rope) sizes.rope = rope_from_config(config);
  sizes.rotated =
      static_cast<std::int64_t>(static_cast<double>(sizes.head_dim) * rotated_part(config, family));
  if (sizes.head_dim < 2 || sizes.head_dim % 2 != 0 || sizes.rotated % 2 != 0 ||
      sizes.rotated < 2 || sizes.rotated > sizes.head_dim || sizes.heads % sizes.kv_heads != 0) {
    fail(ErrorKind::kInput, "gguf",
         fmt::format("config.json: expected heads of even width, found {} of which {} are rotated, "
                     "{} heads for {} key heads",
                     sizes.head_dim, sizes.rotated, sizes.heads, sizes.kv_heads));
  }
  check_scaling(sizes, family);
  return sizes;
}

namespace {

void put_extra(const Json& config, const NameFamily& family, GgufMetadata& out) {
  for (const ExtraKey& key : family.extra) {
    const std::string name = fmt::format("{}.{}", family.gguf_architecture, key.gguf);
    const auto found = config.find(key.hf);
    if (found == config.end() || found->is_null()) {
      if (key.required) unsupported(fmt::format("expected {}, found none", key.hf));
      continue;
    }
    if (key.kind == ExtraKey::Kind::kInteger) {
      out.emplace_back(name, gguf_u32(json_int(config, key.hf, kConfig)));
    } else if (key.kind == ExtraKey::Kind::kFlag) {
      out.emplace_back(name, gguf_bool(json_bool(config, key.hf, kConfig, true)));
    } else {
      out.emplace_back(name, gguf_f32(json_number(config, key.hf, kConfig, 0)));
    }
  }
}

}  // namespace

namespace {

/// Length, heads and MLP. A state space has none of them: llama.cpp wants zeros then.
void put_heads(const Json& config, const NameFamily& family, const DecoderSizes& sizes,
               GgufMetadata& out) {
  const std::string arch(family.gguf_architecture);
  const ConfigKeys& keys = family.keys;
  if (!family.attention) {
    constexpr std::int64_t kAnyLength = 1 << 20;
    out.emplace_back(arch + ".context_length", gguf_u32(kAnyLength));
    out.emplace_back(arch + ".feed_forward_length", gguf_u32(0));
    out.emplace_back(arch + ".attention.head_count", gguf_u32(0));
    return;
  }
  const std::int64_t width = size_of(config, keys.width);
  out.emplace_back(arch + ".context_length", gguf_u32(size_or(config, keys.context, 2048)));
  out.emplace_back(arch + ".feed_forward_length", gguf_u32(size_or(config, keys.d_ff, 4 * width)));
  out.emplace_back(arch + ".attention.head_count", gguf_u32(sizes.heads));
  if (family.latent) return put_latent(config, arch, sizes, out);
  out.emplace_back(arch + ".attention.head_count_kv", gguf_u32(sizes.kv_heads));
  out.emplace_back(arch + ".attention.key_length", gguf_u32(sizes.head_dim));
  out.emplace_back(arch + ".attention.value_length", gguf_u32(sizes.head_dim));
}

}  // namespace

GgufMetadata metadata_from_config(const Json& config, const NameFamily& family,
                                  std::uint32_t file_type) {
  const DecoderSizes sizes = decoder_sizes(config, family);
  const ConfigKeys& keys = family.keys;
  const std::string arch(family.gguf_architecture);
  const std::int64_t width = size_of(config, keys.width);
  GgufMetadata out;
  out.emplace_back("general.architecture", gguf_string(arch));
  out.emplace_back("general.type", gguf_string("model"));
  const std::string name = json_string(config, "_name_or_path", kConfig, "");
  if (!name.empty())
    out.emplace_back("general.name", gguf_string(fs::path(name).filename().string()));
  out.emplace_back(arch + ".block_count", gguf_u32(size_of(config, keys.layers)));
  out.emplace_back(arch + ".embedding_length", gguf_u32(width));
  put_heads(config, family, sizes, out);
  out.emplace_back(
      arch + (family.layer_norm ? ".attention.layer_norm_epsilon"
                                : ".attention.layer_norm_rms_epsilon"),
      gguf_f32(json_number(config, keys.eps, kConfig, family.layer_norm ? 1e-5 : 1e-6)));
  if (family.rope) {
    put_scaling(sizes.rope, arch, out);
    out.emplace_back(arch + ".rope.dimension_count", gguf_u32(sizes.rotated));
  }
  put_extra(config, family, out);
  if (const std::string act = activation_of(config, family); act != family.activations.front())
    out.emplace_back(arch + ".hidden_activation", gguf_string(act));
  if (family.latent)
    out.emplace_back(arch + ".expert_gating_func",
                     gguf_u32(family.hf_types.front() == "deepseek_v3" ? 2 : 1));
  out.emplace_back(arch + ".vocab_size", gguf_u32(sizes.vocab));
  out.emplace_back("general.file_type", gguf_u32(file_type));
  if (file_type == kFileTypeQ8_0) {
    out.emplace_back("general.quantization_version", gguf_u32(kQuantizationVersion));
  }
  return out;
}

}  // namespace lancet
