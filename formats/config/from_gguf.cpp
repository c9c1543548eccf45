#include "formats/config/from_gguf.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/log.h"
#include "core/text.h"
#include "formats/chat_templates.h"
#include "formats/config/family_rules.h"
#include "formats/config/gguf_number.h"
#include "formats/config/rope_scaling.h"
#include "formats/quant/decode.h"
#include "formats/tokenizer/tokenizer.h"

namespace lancet {
namespace {

constexpr std::int64_t kMaxLayers = 4096;
constexpr std::int64_t kMaxWidth = 1 << 24;
constexpr std::int64_t kMaxContext = std::int64_t{1} << 40;
constexpr std::int64_t kMaxHeads = 1 << 16;

[[noreturn]] void refuse(const Checkpoint& checkpoint, ErrorKind kind, const std::string& message) {
  fail(kind, "config", fmt::format("{}: {}", printable(checkpoint.path().string(), 400), message));
}

/// Values of a tensor of divisors, `count` of them; empty where there is none.
std::vector<float> rope_divisors(const Checkpoint& checkpoint, std::string_view name,
                                 std::int64_t count) {
  const TensorInfo* tensor = checkpoint.find(name);
  if (tensor == nullptr) return {};
  if (std::cmp_not_equal(tensor->elements(), count)) {
    refuse(checkpoint, ErrorKind::kInput,
           fmt::format("tensor '{}': expected {} values, half of what is rotated, found {}", name,
                       count, tensor->elements()));
  }
  std::vector<float> values(tensor->elements());
  decode_f32(tensor->dtype, checkpoint.data(*tensor), values);
  return values;
}

/// What transformers calls the dtype of the weights after decoding: that of most matrix elements.
std::string decoded_dtype(const Checkpoint& checkpoint) {
  std::array<std::uint64_t, 4> elements{};
  constexpr std::array<std::string_view, 4> kNames = {"float32", "bfloat16", "float16", "float64"};
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    if (tensor.shape.size() < 2 || !dtype_info(tensor.dtype).floating) continue;
    const std::size_t kind = tensor.dtype == DType::kBF16  ? 1
                             : tensor.dtype == DType::kF16 ? 2
                             : tensor.dtype == DType::kF64 ? 3
                                                           : 0;
    elements[kind] += tensor.elements();
  }
  return std::string(
      kNames[static_cast<std::size_t>(std::ranges::max_element(elements) - elements.begin())]);
}

std::int64_t vocab_rows(const Checkpoint& checkpoint) {
  const TensorInfo* embedding = checkpoint.find("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2) {
    refuse(checkpoint, ErrorKind::kInput,
           "tensor 'token_embd.weight': expected a matrix, found none");
  }
  return embedding->shape[0];
}

/// Latent attention: heads as they are once decompressed, however the file names them.
GgufSizes latent_sizes(const Checkpoint& checkpoint, const std::string& arch, GgufSizes sizes) {
  const GgufHeader& header = *checkpoint.gguf();
  const auto length = [&](const char* name) {
    const std::string key = arch + ".attention." + name;
    const bool apart = header.find(key + "_mla") != nullptr;
    return gguf_integer_in(header, apart ? key + "_mla" : key, 1, kMaxWidth);
  };
  sizes.kv_heads = sizes.heads;
  sizes.head_dim = length("key_length");
  sizes.values = length("value_length");
  sizes.rotated = gguf_integer_in(header, arch + ".rope.dimension_count", 2, kMaxWidth);
  if (sizes.rotated % 2 == 0 && sizes.rotated < sizes.head_dim && sizes.values <= sizes.head_dim)
    return sizes;
  refuse(checkpoint, ErrorKind::kInput,
         fmt::format("metadata: keys of width {} with rotation of {} and values of {} do not fit "
                     "together",
                     sizes.head_dim, sizes.rotated, sizes.values));
}

}  // namespace

GgufSizes sizes_from_gguf(const Checkpoint& checkpoint, const NameFamily& family) {
  const GgufHeader& header = *checkpoint.gguf();
  const std::string arch(family.gguf_architecture);
  GgufSizes sizes;
  sizes.width = gguf_integer_in(header, arch + ".embedding_length", 1, kMaxWidth);
  if (!family.attention) return sizes;
  sizes.heads = gguf_uniform(header, arch + ".attention.head_count", 0, kMaxHeads);
  if (sizes.heads == 0) {
    refuse(checkpoint, ErrorKind::kInput,
           fmt::format("metadata '{}.attention.head_count': expected, found none", arch));
  }
  sizes.kv_heads = gguf_uniform(header, arch + ".attention.head_count_kv", sizes.heads, kMaxHeads);
  if (family.latent) return latent_sizes(checkpoint, arch, sizes);
  sizes.head_dim = header.integer(arch + ".attention.key_length", sizes.width / sizes.heads);
  if (sizes.head_dim < 2 || sizes.head_dim > kMaxWidth || sizes.head_dim % 2 != 0 ||
      sizes.heads % sizes.kv_heads != 0) {
    refuse(checkpoint, ErrorKind::kInput,
           fmt::format("metadata: {} heads, {} key heads of width {} do not fit together",
                       sizes.heads, sizes.kv_heads, sizes.head_dim));
  }
  const std::int64_t values = header.integer(arch + ".attention.value_length", sizes.head_dim);
  sizes.rotated = header.integer(arch + ".rope.dimension_count", sizes.head_dim);
  // Which families turn a part of a head, the table says.
  const bool partial = family.partial != 1 || family.gguf_architecture == "phi3";
  const bool part =
      partial && sizes.rotated > 0 && sizes.rotated % 2 == 0 && sizes.rotated <= sizes.head_dim;
  if (values != sizes.head_dim || (family.rope && sizes.rotated != sizes.head_dim && !part)) {
    refuse(checkpoint, ErrorKind::kMismatch,
           fmt::format("heads of width {} with values of {} and rotation of {} are not supported",
                       sizes.head_dim, values, sizes.rotated));
  }
  return sizes;
}

namespace {

void put(Json& config, std::string_view key, Json value) {
  if (!key.empty()) config[std::string(key)] = std::move(value);
}

void put_latent(const GgufHeader& header, const std::string& arch, const GgufSizes& sizes,
                Json& config) {
  const std::string q_rank = arch + ".attention.q_lora_rank";
  config["head_dim"] = config["qk_rope_head_dim"] = sizes.rotated;
  config["qk_nope_head_dim"] = sizes.head_dim - sizes.rotated;
  config["v_head_dim"] = sizes.values;
  config["kv_lora_rank"] = gguf_integer_in(header, arch + ".attention.kv_lora_rank", 1, kMaxWidth);
  config["q_lora_rank"] =
      header.find(q_rank) == nullptr ? Json() : Json(gguf_integer_in(header, q_rank, 1, kMaxWidth));
}

/// Sizes of the decoder, each in a sane range.
void put_sizes(const Checkpoint& checkpoint, const NameFamily& family, const GgufSizes& sizes,
               Json& config) {
  const GgufHeader& header = *checkpoint.gguf();
  const std::string arch(family.gguf_architecture);
  const ConfigKeys& keys = family.keys;
  const bool experts = header.integer(arch + ".expert_count", 0) > 0;
  const bool knows = std::ranges::any_of(
      family.extra, [](const ExtraKey& key) { return key.gguf == "expert_count"; });
  if (experts != knows) {
    refuse(checkpoint, ErrorKind::kMismatch,
           fmt::format("architecture {} {} experts is not supported", arch,
                       experts ? "with" : "without"));
  }
  config["vocab_size"] = vocab_rows(checkpoint);
  put(config, keys.width, sizes.width);
  put(config, keys.layers, gguf_integer_in(header, arch + ".block_count", 1, kMaxLayers));
  if (!family.attention) return;
  put(config, keys.d_ff,
      gguf_uniform(header, arch + ".feed_forward_length", 4 * sizes.width, kMaxWidth));
  put(config, keys.heads, sizes.heads);
  put(config, keys.kv_heads, sizes.kv_heads);
  if (family.latent) {
    put_latent(header, arch, sizes, config);
  } else if (!family.layer_norm) {
    config["head_dim"] = sizes.head_dim;
  } else if (sizes.head_dim * sizes.heads != sizes.width) {
    refuse(checkpoint, ErrorKind::kMismatch,
           fmt::format("{} heads of width {} in a model of width {} are not supported", sizes.heads,
                       sizes.head_dim, sizes.width));
  }
  put(config, keys.context, gguf_integer_in(header, arch + ".context_length", 1, kMaxContext));
}

void put_extra(const GgufHeader& header, const NameFamily& family, Json& config) {
  for (const ExtraKey& key : family.extra) {
    const std::string name = fmt::format("{}.{}", family.gguf_architecture, key.gguf);
    const std::string hf(key.hf);
    if (header.find(name) == nullptr && !key.required) {
      config[hf] = nullptr;
    } else if (key.kind == ExtraKey::Kind::kInteger) {
      config[hf] = gguf_integer_in(header, name, 0, kMaxContext);
    } else if (key.kind == ExtraKey::Kind::kFlag) {
      config[hf] = header.boolean(name, true);
    } else {
      if (header.find(name) == nullptr)
        fail(ErrorKind::kInput, "config", "metadata '" + name + "': expected, found none");
      config[hf] = gguf_decimal(header, name, 0);
    }
  }
}

/// Settings of the metadata and of the tensors beside it.
RopeSettings read_ropes(const Checkpoint& checkpoint, const std::string& arch,
                        const GgufSizes& sizes) {
  const GgufHeader& header = *checkpoint.gguf();
  RopeSettings rope = rope_from_gguf(
      header, arch, rope_divisors(checkpoint, "rope_freqs.weight", sizes.head_dim / 2));
  rope.short_factors = rope_divisors(checkpoint, "rope_factors_short.weight", sizes.rotated / 2);
  rope.long_factors = rope_divisors(checkpoint, "rope_factors_long.weight", sizes.rotated / 2);
  const bool factors = !rope.short_factors.empty() || !rope.long_factors.empty();
  if (!factors && rope.type != "longrope") return rope;
  if (arch != "phi3")
    refuse(checkpoint, ErrorKind::kMismatch,
           "longrope scaling is not supported in the architecture " + arch);
  const std::string key = arch + ".rope.scaling.";
  rope.type = "longrope";
  rope.attention_factor = gguf_decimal(header, key + "attn_factor", 1);
  rope.original_context = header.integer(key + "original_context_length", 0);
  if (rope.short_factors.empty() || rope.long_factors.empty() || rope.original_context < 2)
    refuse(checkpoint, ErrorKind::kInput,
           "longrope: expected rope_factors_short.weight, rope_factors_long.weight and "
           "original_context_length");
  return rope;
}

void put_ropes(const Checkpoint& checkpoint, const NameFamily& family, const GgufSizes& sizes,
               Json& config) {
  const std::string arch(family.gguf_architecture);
  RopeSettings rope = read_ropes(checkpoint, arch, sizes);
  rope.truncate = rope.type != "yarn" || arch != "gpt-oss";
  put_rope(rope, config);
  if (family.latent || (family.partial == 1 && sizes.rotated == sizes.head_dim)) return;
  const double part = static_cast<double>(sizes.rotated) / static_cast<double>(sizes.head_dim);
  config["partial_rotary_factor"] = part;
  config["rope_parameters"]["partial_rotary_factor"] = part;
  if (arch == "gptneox") config["rotary_pct"] = part;
}

/// Absent ids become null where `nulls`, else are left out.
void put_ids(const GgufHeader& header, std::int64_t vocab, bool nulls, Json& out) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kIds = {{
      {"bos_token_id", "tokenizer.ggml.bos_token_id"},
      {"eos_token_id", "tokenizer.ggml.eos_token_id"},
      {"pad_token_id", "tokenizer.ggml.padding_token_id"},
  }};
  for (const auto& [name, key] : kIds) {
    const auto id = gguf_token_id(header, key, vocab);
    if (id || nulls) out[std::string(name)] = id ? Json(*id) : Json(nullptr);
  }
}

Json generation_config(const GgufHeader& header, std::int64_t vocab) {
  Json config;
  config["_from_model_config"] = true;
  put_ids(header, vocab, false, config);
  Json ends = Json::array();  // of a text, a turn, a message
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                          "tokenizer.ggml.eom_token_id"}) {
    const auto id = gguf_token_id(header, key, vocab);
    if (id && std::ranges::find(ends, Json(*id)) == ends.end()) ends.push_back(*id);
  }
  if (!ends.empty()) config["eos_token_id"] = ends.size() == 1 ? ends[0] : ends;
  return config;
}

/// {"bos_token": "<s>", ...}: the special tokens that transformers knows by role.
Json special_tokens(const GgufHeader& header) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kRoles = {{
      {"bos_token", "tokenizer.ggml.bos_token_id"},
      {"eos_token", "tokenizer.ggml.eos_token_id"},
      {"pad_token", "tokenizer.ggml.padding_token_id"},
      {"unk_token", "tokenizer.ggml.unknown_token_id"},
  }};
  Json out = Json::object();
  const auto* tokens = header.strings("tokenizer.ggml.tokens");
  if (tokens == nullptr) return out;
  for (const auto& [role, key] : kRoles) {
    const auto id = gguf_token_id(header, key, static_cast<std::int64_t>(tokens->size()));
    if (id) out[std::string(role)] = (*tokens)[static_cast<std::size_t>(*id)];
  }
  return out;
}

Json tokenizer_config(const GgufHeader& header, const Json& config) {
  Json out;
  out["tokenizer_class"] = "PreTrainedTokenizerFast";
  out["add_prefix_space"] = header.boolean("tokenizer.ggml.add_space_prefix", false);
  out["clean_up_tokenization_spaces"] = false;
  out["model_max_length"] =
      config.value("max_position_embeddings", config.value("n_positions", Json()));
  out["model_input_names"] = Json::array({"input_ids", "attention_mask"});
  out.update(special_tokens(header));
  return out;
}

}  // namespace

Json config_from_gguf(const Checkpoint& checkpoint, const NameFamily& family) {
  const GgufHeader& header = *checkpoint.gguf();
  const std::string arch(family.gguf_architecture);
  Json config;
  config["architectures"] = Json::array({family.hf_class});
  config["model_type"] = family.hf_types.front();
  const GgufSizes sizes = sizes_from_gguf(checkpoint, family);
  put_sizes(checkpoint, family, sizes, config);
  const std::string act =
      header.string(arch + ".hidden_activation", std::string(family.activations.front()));
  if (std::ranges::find(family.activations, act) == family.activations.end())
    refuse(checkpoint, ErrorKind::kMismatch,
           fmt::format("metadata '{}.hidden_activation': expected {}, found '{}'", arch,
                       family.activations.front(), printable(act)));
  put(config, family.keys.activation, act);
  const std::string epsilon = arch + ".attention.layer_norm_";
  put(config, family.keys.eps,
      family.layer_norm ? gguf_decimal(header, epsilon + "epsilon", 1e-5)
                        : gguf_decimal(header, epsilon + "rms_epsilon", 1e-6));
  if (family.rope) put_ropes(checkpoint, family, sizes, config);
  put_extra(header, family, config);
  if (family.attention) {
    config["attention_bias"] =
        family.attention_bias || checkpoint.find("blk.0.attn_q.bias") != nullptr;
    config["attention_dropout"] = 0.0;
    config["mlp_bias"] = checkpoint.find("blk.0.ffn_up.bias") != nullptr;
  }
  config["initializer_range"] = 0.02;
  config["tie_word_embeddings"] = checkpoint.find("output.weight") == nullptr;
  config["use_cache"] = true;
  put_ids(header, config["vocab_size"].get<std::int64_t>(), true, config);
  config["dtype"] = config["torch_dtype"] = decoded_dtype(checkpoint);
  complete_config(checkpoint, family, config);
  return config;
}

std::map<std::string, std::string> side_files_from_gguf(const GgufHeader& header,
                                                        const Json& config) {
  std::map<std::string, std::string> files;
  const auto put = [&](std::string name, const Json& json) {
    files[std::move(name)] = dump_json(json, 2) + "\n";
  };
  put("generation_config.json",
      generation_config(header, config["vocab_size"].get<std::int64_t>()));
  const std::string model = header.string("tokenizer.ggml.model", "none");
  if (model != "none" && model != "no_vocab") {
    put("tokenizer.json", Tokenizer::from_gguf(header).json());
    put("tokenizer_config.json", tokenizer_config(header, config));
    put("special_tokens_map.json", special_tokens(header));
  }
  for (auto& [name, text] : chat_templates(header)) {
    if (const auto file = template_file(name)) {
      files[*file] = std::move(text);
    } else {
      log::warn(fmt::format("gguf: the chat template '{}' is left out: its name is no file name",
                            printable(name, 100)));
    }
  }
  return files;
}

}  // namespace lancet
