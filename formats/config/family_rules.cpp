#include "formats/config/family_rules.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include <fmt/format.h>

#include "core/error.h"
#include "core/log.h"
#include "core/text.h"
#include "formats/config/rope_scaling.h"

namespace lancet {
namespace {

constexpr std::string_view kConfig = "config.json";
constexpr double kLocalTheta = 10000;

[[noreturn]] void unsupported(const std::string& message) {
  fail(ErrorKind::kMismatch, "gguf", "config.json: " + message,
       "write a Hugging Face directory instead");
}

[[noreturn]] void unexpected(std::string_view key, const Json& expected, const Json& found) {
  unsupported(fmt::format("expected {} {} as this architecture's GGUF has it, found {}", key,
                          dump_json(expected), printable(dump_json(found), 80)));
}

bool is_nothing(const Json& value) {
  return value.is_null() || value == false || (value.is_array() && value.empty());
}

void check_fixed(const Json& config, const NameFamily& family) {
  const Json fixed = parse_json(family.fixed, "family");
  for (const auto& [key, expected] : fixed.items()) {
    const auto found = config.find(key);
    if (found == config.end() || *found == expected) continue;
    if (is_nothing(*found) && is_nothing(expected)) continue;
    unexpected(key, expected, *found);
  }
}

/// Members that config.json leaves out, as the family means them.
void fill_defaults(const NameFamily& family, Json& config) {
  constexpr std::string_view kMistral =
      R"({"max_position_embeddings": 131072, "num_key_value_heads": 8})";
  const bool mistral = config.value("model_type", Json()) == "mistral";
  const Json defaults = parse_json(mistral ? kMistral : family.defaults, "family");
  for (const auto& [key, value] : defaults.items()) {
    if (config.value(key, Json()).is_null()) config[key] = value;
  }
}

/// Whether some layer of a family without windows in its GGUF has one.
bool has_window(const Json& config, std::string_view type) {
  if (type == "mistral") return true;
  if (type == "mixtral") return config.contains("sliding_window");
  if (!type.starts_with("qwen") || !json_bool(config, "use_sliding_window", kConfig, false))
    return false;
  if (type == "qwen3_moe") return true;
  const Json types = config.value("layer_types", Json());
  if (types.is_array()) return std::ranges::find(types, "sliding_attention") != types.end();
  const std::int64_t edge = json_int(config, "max_window_layers", kConfig, 28);
  return type == "qwen2_moe" ? edge > 0 : edge < json_int(config, "num_hidden_layers", kConfig, 0);
}

/// The GGUF of these families has no windows. Up to the window's length none is needed: the file
/// is for that many tokens then, unless the length is part of the rotation.
void limit_to_window(Json& config) {
  constexpr std::int64_t kUsual = 4096;
  const std::string type = json_string(config, "model_type", kConfig);
  const Json said = config.value("sliding_window", Json(kUsual));
  if (!has_window(config, type) || !said.is_number_integer()) return;
  const std::int64_t window = said.get<std::int64_t>();
  const std::int64_t context = json_int(config, "max_position_embeddings", kConfig, 0);
  if (window >= context) return;
  if (window < 1 || rope_from_config(config).type != "default") {
    fail(ErrorKind::kMismatch, "gguf",
         fmt::format("config.json: expected a sliding_window of at least max_position_embeddings "
                     "{} as this architecture's GGUF has it, found {}",
                     context, window),
         "write a Hugging Face directory instead");
  }
  log::warn(
      fmt::format("gguf: this architecture's GGUF has no sliding windows: written for {} "
                  "tokens, the window's length, not for {}",
                  window, context));
  config["max_position_embeddings"] = window;
}

/// Layers see a window but for every `period`-th one; 0 = no pattern.
std::int64_t window_period(std::string_view architecture) {
  constexpr std::array<std::pair<std::string_view, std::int64_t>, 4> kPeriods = {
      {{"gemma2", 2}, {"gemma3", 6}, {"cohere2", 4}, {"gpt-oss", 2}}};
  for (const auto& [name, period] : kPeriods) {
    if (name == architecture) return period;
  }
  return 0;
}

void check_windows(const Json& config, std::int64_t period) {
  for (const char* key : {"sliding_window_pattern", "_sliding_window_pattern"}) {
    const auto said = config.find(key);
    if (said != config.end() && said->is_number() && *said != period)
      unexpected(key, period, *said);
  }
  const auto types = config.find("layer_types");
  if (types == config.end() || !types->is_array()) return;
  std::int64_t layer = 0;
  for (const Json& type : *types) {
    ++layer;
    if (type != (layer % period == 0 ? "full_attention" : "sliding_attention"))
      unsupported(
          fmt::format("expected full attention in every {}th layer alone, found {} in "
                      "layer {}",
                      period, printable(dump_json(type), 40), layer - 1));
  }
}

/// Gemma's queries: llama.cpp knows their scale by the model's size.
void check_query_scale(const Json& config, std::string_view architecture) {
  constexpr std::int64_t kHead = 256;
  const std::int64_t head = json_int(config, "head_dim", kConfig, kHead);
  const std::int64_t layers = json_int(config, "num_hidden_layers", kConfig, 0);
  const bool largest = layers == (architecture == "gemma2" ? 46 : 62);
  const std::int64_t heads = json_int(config, "num_attention_heads", kConfig, 1);
  const std::int64_t expected =
      largest && heads > 0 ? json_int(config, "hidden_size", kConfig, 0) / heads : head;
  const double found = json_number(config, "query_pre_attn_scalar", kConfig, kHead);
  if (found != static_cast<double>(expected)) unexpected("query_pre_attn_scalar", expected, found);
}

/// hidden_act of the first Gemma says "gelu" and means the tanh form.
Json gemma_activation(const Json& config) {
  Json said = config.value("hidden_activation", Json());
  if (!said.is_null()) return said;
  const Json act = config.value("hidden_act", Json());
  return act.is_null() || act == "gelu" ? Json("gelu_pytorch_tanh") : act;
}

/// Gemma 3 turns its local layers by another base, which llama.cpp knows.
void flatten_ropes(Json& config) {
  double local = json_number(config, "rope_local_base_freq", kConfig, kLocalTheta);
  const auto ropes = config.find("rope_parameters");
  if (ropes != config.end() && ropes->is_object() && ropes->contains("full_attention")) {
    const Json own = ropes->value("sliding_attention", Json::object());
    if (own.is_object()) local = json_number(own, "rope_theta", kConfig, local);
    const Json full = (*ropes)["full_attention"];
    config["rope_parameters"] = full;
  }
  if (local != kLocalTheta) unexpected("rope_theta of sliding_attention", kLocalTheta, local);
}

std::int64_t falcon_kv_heads(const Json& config) {
  const std::int64_t heads = json_int(config, "num_attention_heads", kConfig, 1);
  if (json_bool(config, "new_decoder_architecture", kConfig, false)) {
    const auto found = config.find("num_kv_heads");
    return found == config.end() || found->is_null() ? heads
                                                     : json_int(config, "num_kv_heads", kConfig);
  }
  return json_bool(config, "multi_query", kConfig, true) ? 1 : heads;
}

/// "su" and, in this family's files, "yarn" mean longrope; its first length stands beside the
/// others or among them.
void name_longrope(Json& config) {
  constexpr const char* kOriginal = "original_max_position_embeddings";
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const auto at = config.find(key);
    if (at == config.end() || !at->is_object()) continue;
    for (const char* type : {"type", "rope_type"}) {
      if (at->contains(type) && ((*at)[type] == "yarn" || (*at)[type] == "su"))
        (*at)[type] = "longrope";
    }
    const Json first = at->value(kOriginal, Json());
    if (!first.is_null() && config.value(kOriginal, Json()).is_null()) config[kOriginal] = first;
  }
}

/// Sizes that DeepSeek's config.json need not say, and those that mean nothing.
void complete_deepseek(bool sigmoid, Json& config) {
  config["first_k_dense_replace"] = json_int(config, "first_k_dense_replace", kConfig, 0);
  config["n_shared_experts"] = json_int(config, "n_shared_experts", kConfig, 1);
  config["routed_scaling_factor"] =
      json_number(config, "routed_scaling_factor", kConfig, sigmoid ? 2.5 : 1);
  if (!sigmoid) return;
  config["norm_topk_prob"] = json_bool(config, "norm_topk_prob", kConfig, true);
  if (json_int(config, "n_group", kConfig, 1) <= 1)
    config["n_group"] = config["topk_group"] = Json();
}

/// BLOOM's older spellings.
void name_bloom_sizes(Json& config) {
  constexpr std::array<std::pair<const char*, const char*>, 3> kNames = {
      {{"n_layer", "num_hidden_layers"},
       {"hidden_size", "n_embed"},
       {"n_head", "num_attention_heads"}}};
  for (const auto& [name, other] : kNames) {
    if (!config.contains(name) && config.contains(other)) config[name] = Json(config[other]);
  }
}

/// Sizes that a Mamba's config.json need not say.
void complete_mamba(Json& config) {
  const std::int64_t width = json_int(config, "hidden_size", kConfig);
  config["intermediate_size"] = 2 * width;
  config["conv_kernel"] = json_int(config, "conv_kernel", kConfig, 4);
  config["state_size"] = json_int(config, "state_size", kConfig, 16);
  if (!config.value("time_step_rank", Json()).is_number_integer())
    config["time_step_rank"] = (width + 15) / 16;
}

void check_mamba(const GgufHeader& header, const Json& config) {
  const std::int64_t inner = json_int(config, "intermediate_size", kConfig);
  const std::int64_t width = json_int(config, "hidden_size", kConfig);
  if (inner == 2 * width && !header.boolean("mamba.ssm.dt_b_c_rms", false)) return;
  fail(ErrorKind::kMismatch, "config",
       fmt::format("expected a Mamba of inner width {} without norms of dt, B and C, found width "
                   "{} or such norms",
                   2 * width, inner));
}

void complete_router(const GgufHeader& header, Json& config) {
  const bool normed = header.boolean("deepseek2.expert_weights_norm", false);
  if (config["model_type"] == "deepseek_v3") {
    config["norm_topk_prob"] = normed;
    if (config["n_group"].is_null()) config["n_group"] = config["topk_group"] = 1;
  } else if (normed || header.integer("deepseek2.expert_group_count", 1) > 1) {
    fail(ErrorKind::kMismatch, "config",
         "expected DeepSeek-V2's router without groups and normed weights, found another");
  }
}

}  // namespace

Json config_for_gguf(const Json& config, const NameFamily& family) {
  Json out = config;
  fill_defaults(family, out);
  check_fixed(out, family);
  limit_to_window(out);
  const std::string_view architecture = family.gguf_architecture;
  if (const std::int64_t period = window_period(architecture); period > 0)
    check_windows(config, period);
  if (architecture == "gemma2" || architecture == "gemma3") check_query_scale(out, architecture);
  if (architecture == "gemma") out["hidden_act"] = gemma_activation(config);
  if (architecture == "gptneox" && config.value("rotary_emb_base", Json()).is_number())
    out["rope_theta"] = Json(config["rotary_emb_base"]);
  if (architecture == "gemma3") flatten_ropes(out);
  if (architecture == "falcon") out["num_kv_heads"] = falcon_kv_heads(config);
  if (architecture == "phi3") name_longrope(out);
  if (architecture == "bloom") name_bloom_sizes(out);
  if (architecture == "mamba") complete_mamba(out);
  if (family.latent) complete_deepseek(family.hf_types.front() == "deepseek_v3", out);
  if (!config.contains("num_experts") && config.contains("num_local_experts"))
    out["num_experts"] = config["num_local_experts"];
  return out;
}

double rotated_part(const Json& config, const NameFamily& family) {
  double part = family.partial;
  for (const char* key : {"rotary_pct", "partial_rotary_factor"})
    part = json_number(config, key, kConfig, part);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const auto found = config.find(key);
    if (found != config.end() && found->is_object())
      part = json_number(*found, "partial_rotary_factor", kConfig, part);
  }
  return part;
}

void complete_config(const Checkpoint& checkpoint, const NameFamily& family, Json& config) {
  const auto has = [&](const char* name) { return checkpoint.find(name) != nullptr; };
  const std::string_view architecture = family.gguf_architecture;
  config.update(parse_json(family.fixed, "family"));
  if (architecture == "gemma2" || architecture == "gemma3") {
    const bool largest = config["num_hidden_layers"] == (architecture == "gemma2" ? 46 : 62);
    config["query_pre_attn_scalar"] = largest
                                          ? config["hidden_size"].get<std::int64_t>() /
                                                config["num_attention_heads"].get<std::int64_t>()
                                          : config["head_dim"].get<std::int64_t>();
  }
  if (architecture == "gemma3") {
    const Json full = config["rope_parameters"];
    config["rope_local_base_freq"] = kLocalTheta;
    config["rope_parameters"] = {
        {"full_attention", full},
        {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", kLocalTheta}}}};
  }
  if (architecture == "falcon") {
    const bool two = has("blk.0.attn_norm_2.weight");
    const bool grouped = config["num_kv_heads"] != 1 || two;
    config["new_decoder_architecture"] = grouped;
    config["multi_query"] = true;
    if (grouped) config["num_ln_in_parallel_attn"] = two ? 2 : 1;
    config["bias"] = has("blk.0.attn_qkv.bias");
  }
  if (architecture == "command-r") config["use_qk_norm"] = has("blk.0.attn_q_norm.weight");
  if (architecture == "starcoder2") config["use_bias"] = has("blk.0.attn_q.bias");
  if (architecture == "stablelm") config["use_qkv_bias"] = has("blk.0.attn_q.bias");
  if (architecture == "gptneox") config["attention_bias"] = has("blk.0.attn_qkv.bias");
  if (architecture == "mamba") check_mamba(*checkpoint.gguf(), config);
  if (architecture == "deepseek2") complete_router(*checkpoint.gguf(), config);
  if (config.contains("num_experts")) config["num_local_experts"] = config["num_experts"];
}

}  // namespace lancet
