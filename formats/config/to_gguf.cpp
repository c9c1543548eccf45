#include "formats/config/to_gguf.h"

#include <limits>

#include <fmt/format.h>

#include "core/error.h"
#include "core/log.h"
#include "core/text.h"

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

void put_scaling(const RopeSettings& rope, const std::string& arch, GgufMetadata& out) {
  out.emplace_back(arch + ".rope.freq_base", gguf_f32(rope.theta));
  if (rope.type != "linear" && rope.type != "yarn") return;  // llama3 is said by rope_freqs.weight
  out.emplace_back(arch + ".rope.scaling.type", gguf_string(rope.type));
  out.emplace_back(arch + ".rope.scaling.factor", gguf_f32(rope.factor));
  if (rope.original_context > 0) {
    out.emplace_back(arch + ".rope.scaling.original_context_length",
                     gguf_u32(rope.original_context));
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

DecoderSizes decoder_sizes(const Json& config) {
  const std::string act = json_string(config, "hidden_act", kConfig, "silu");
  if (act != "silu")
    unsupported(fmt::format("expected hidden_act silu, found '{}'", printable(act)));
  if (const auto window = config.find("sliding_window");
      window != config.end() && window->is_number() &&
      json_bool(config, "use_sliding_window", kConfig, true)) {
    log::warn(
        "gguf: the sliding attention window of config.json has no place in this architecture's "
        "GGUF");
  }
  DecoderSizes sizes;
  sizes.heads = size_of(config, "num_attention_heads");
  sizes.kv_heads = size_or(config, "num_key_value_heads", sizes.heads);
  sizes.head_dim = size_or(config, "head_dim", size_of(config, "hidden_size") / sizes.heads);
  sizes.vocab = size_of(config, "vocab_size");
  sizes.tied = json_bool(config, "tie_word_embeddings", kConfig, false);
  sizes.rope = rope_from_config(config);
  if (sizes.head_dim < 2 || sizes.head_dim % 2 != 0) {
    fail(ErrorKind::kInput, "gguf",
         fmt::format("config.json: expected heads of even width, found {}", sizes.head_dim));
  }
  return sizes;
}

GgufMetadata metadata_from_config(const Json& config, const NameFamily& family,
                                  std::uint32_t file_type) {
  const DecoderSizes sizes = decoder_sizes(config);
  const std::string arch(family.gguf_architecture);
  GgufMetadata out;
  out.emplace_back("general.architecture", gguf_string(arch));
  out.emplace_back("general.type", gguf_string("model"));
  const std::string name = json_string(config, "_name_or_path", kConfig, "");
  if (!name.empty())
    out.emplace_back("general.name", gguf_string(fs::path(name).filename().string()));
  out.emplace_back(arch + ".block_count", gguf_u32(size_of(config, "num_hidden_layers")));
  out.emplace_back(arch + ".context_length", gguf_u32(size_of(config, "max_position_embeddings")));
  out.emplace_back(arch + ".embedding_length", gguf_u32(size_of(config, "hidden_size")));
  out.emplace_back(arch + ".feed_forward_length", gguf_u32(size_of(config, "intermediate_size")));
  out.emplace_back(arch + ".attention.head_count", gguf_u32(sizes.heads));
  out.emplace_back(arch + ".attention.head_count_kv", gguf_u32(sizes.kv_heads));
  out.emplace_back(arch + ".attention.key_length", gguf_u32(sizes.head_dim));
  out.emplace_back(arch + ".attention.value_length", gguf_u32(sizes.head_dim));
  out.emplace_back(arch + ".attention.layer_norm_rms_epsilon",
                   gguf_f32(json_number(config, "rms_norm_eps", kConfig, 1e-6)));
  put_scaling(sizes.rope, arch, out);
  out.emplace_back(arch + ".rope.dimension_count", gguf_u32(sizes.head_dim));
  out.emplace_back(arch + ".vocab_size", gguf_u32(sizes.vocab));
  out.emplace_back("general.file_type", gguf_u32(file_type));
  if (file_type == kFileTypeQ8_0) {
    out.emplace_back("general.quantization_version", gguf_u32(kQuantizationVersion));
  }
  return out;
}

}  // namespace lancet
