#include "formats/config/rope_scaling.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "formats/config/gguf_number.h"

namespace lancet {
namespace {

[[noreturn]] void unknown(const std::string& message) {
  fail(ErrorKind::kMismatch, "config", message,
       "this version knows default, linear, yarn, llama3 and longrope scaling");
}

bool is_known_type(std::string_view type) {
  constexpr std::array<std::string_view, 5> kTypes = {"default", "linear", "yarn", "llama3",
                                                      "longrope"};
  return std::ranges::find(kTypes, type) != kTypes.end();
}

/// YaRN's turns, which GGUF leaves to llama.cpp.
bool is_usual_turns(std::string_view key, const Json& value) {
  return (key == "beta_fast" && value == 32.0) || (key == "beta_slow" && value == 1.0);
}

/// Keys of a scaling object that mean nothing beyond what is read here, by type.
bool is_known_key(std::string_view type, std::string_view key) {
  constexpr std::array<std::string_view, 4> kAlways = {"type", "rope_type", "rope_theta",
                                                       "partial_rotary_factor"};
  constexpr std::array<std::string_view, 3> kLlama3 = {"low_freq_factor", "high_freq_factor",
                                                       "factor"};
  if (std::ranges::find(kAlways, key) != kAlways.end()) return true;
  if (type == "llama3" && std::ranges::find(kLlama3, key) != kLlama3.end()) return true;
  constexpr std::array<std::string_view, 3> kLongRope = {"short_factor", "long_factor",
                                                         "attention_factor"};
  if (type == "longrope" && std::ranges::find(kLongRope, key) != kLongRope.end()) return true;
  if (type != "default" && key == "factor") return true;
  if (type == "yarn" && (key == "truncate" || key.starts_with("mscale"))) return true;
  return (type == "yarn" || type == "llama3" || type == "longrope") &&
         key == "original_max_position_embeddings";
}

void read_scaling(const Json& scaling, RopeSettings& rope) {
  rope.type = json_string(scaling, "rope_type", "config.json",
                          json_string(scaling, "type", "config.json", "default"));
  if (!is_known_type(rope.type)) {
    unknown(
        fmt::format("config.json: expected a known rope_type, found '{}'", printable(rope.type)));
  }
  for (const auto& [key, value] : scaling.items()) {
    const bool usual = rope.type == "yarn" && is_usual_turns(key, value);
    if (!value.is_null() && !usual && !is_known_key(rope.type, key)) {
      unknown(fmt::format("config.json: '{}' of {} scaling has no counterpart", printable(key),
                          rope.type));
    }
  }
  rope.theta = json_number(scaling, "rope_theta", "config.json", rope.theta);
  rope.factor = json_number(scaling, "factor", "config.json", 1.0);
  rope.low_freq_factor = json_number(scaling, "low_freq_factor", "config.json", 1.0);
  rope.high_freq_factor = json_number(scaling, "high_freq_factor", "config.json", 4.0);
  rope.original_context = json_int(scaling, "original_max_position_embeddings", "config.json", 0);
  rope.truncate = json_bool(scaling, "truncate", "config.json", true);
  rope.mscale = json_number(scaling, "mscale_all_dim", "config.json", 0);
  const double mscale = json_number(scaling, "mscale", "config.json", 0);
  if (mscale != rope.mscale)
    unknown(fmt::format("config.json: expected mscale like mscale_all_dim, {}, found {}",
                        rope.mscale, mscale));
}

std::vector<float> factors_of(const Json& scaling, std::string_view key) {
  const auto found = scaling.find(key);
  std::vector<float> out;
  for (const Json& value : found == scaling.end() ? Json::array() : *found) {
    if (!value.is_number() || !(value.get<double>() > 0))
      fail(ErrorKind::kInput, "config",
           fmt::format("config.json: expected numbers above 0 in {}, found {}", key,
                       printable(dump_json(value), 40)));
    out.push_back(static_cast<float>(value.get<double>()));
  }
  return out;
}

void read_longrope(const Json& config, const Json& scaling, RopeSettings& rope) {
  constexpr std::string_view kOriginal = "original_max_position_embeddings";
  rope.short_factors = factors_of(scaling, "short_factor");
  rope.long_factors = factors_of(scaling, "long_factor");
  rope.original_context = json_int(config, kOriginal, "config.json", rope.original_context);
  if (rope.original_context < 2)
    fail(ErrorKind::kInput, "config",
         fmt::format("config.json: expected {} of at least 2 for longrope, found {}", kOriginal,
                     rope.original_context));
  const auto original = static_cast<double>(rope.original_context);
  const double context = json_number(config, "max_position_embeddings", "config.json", original);
  const double factor = json_number(scaling, "factor", "config.json", context / original);
  rope.attention_factor = json_number(scaling, "attention_factor", "config.json",
                                      longrope_attention(factor * original, original));
}

}  // namespace

double longrope_attention(double context, double original) {
  return context <= original ? 1 : std::sqrt(1 + std::log(context / original) / std::log(original));
}

bool is_rope_tensor(std::string_view name) noexcept {
  return name == "rope_freqs.weight" || name == "rope_factors_short.weight" ||
         name == "rope_factors_long.weight";
}

RopeSettings rope_from_config(const Json& config) {
  RopeSettings rope;
  rope.theta = json_number(config, "rope_theta", "config.json", rope.theta);
  for (const std::string_view key : {"rope_scaling", "rope_parameters"}) {
    const auto found = config.find(key);
    if (found == config.end() || !found->is_object()) continue;
    read_scaling(*found, rope);
    if (rope.type == "longrope") read_longrope(config, *found, rope);
  }
  // Where the lengths are not said, the model was trained on all of its positions.
  if (rope.type == "llama3" && rope.original_context == 0)
    rope.original_context = json_int(config, "max_position_embeddings", "config.json", 2048);
  return rope;
}

RopeSettings rope_from_gguf(const GgufHeader& header, const std::string& architecture,
                            std::span<const float> divisors) {
  const std::string key = architecture + ".rope.";
  RopeSettings rope;
  rope.theta = gguf_decimal(header, key + "freq_base", rope.theta);
  const std::string type = header.string(key + "scaling.type", "none");
  if (type != "none" && type != "linear" && type != "yarn" && type != "longrope") {
    unknown(fmt::format("{}scaling.type: expected none, linear, yarn or longrope, found '{}'", key,
                        printable(type)));
  }
  if (type != "none") {
    rope.type = type;
    rope.factor = gguf_decimal(header, key + "scaling.factor", 1.0);
    rope.original_context = header.integer(key + "scaling.original_context_length", 0);
    if (architecture == "deepseek2" && type == "yarn" &&
        header.find(key + "scaling.yarn_log_multiplier") != nullptr)
      rope.mscale = shortest_decimal(
          static_cast<float>(10 * gguf_decimal(header, key + "scaling.yarn_log_multiplier", 0.1)));
  }
  if (divisors.empty()) return rope;
  const auto llama3 = llama3_of_divisors(rope.theta, divisors);
  if (!llama3) unknown("rope_freqs.weight: expected the divisors of llama3 scaling, found others");
  return *llama3;
}

namespace {

/// Exactly the three members that earlier versions of transformers want, and the attention factor
/// where it is not the one that follows from the lengths.
void put_longrope(const RopeSettings& rope, Json& config) {
  const auto decimals = [](const std::vector<float>& factors) {
    Json list = Json::array();
    for (const float factor : factors) list.push_back(shortest_decimal(factor));
    return list;
  };
  const auto original = static_cast<double>(rope.original_context);
  const double usual =
      longrope_attention(config["max_position_embeddings"].get<double>(), original);
  Json scaling{{"type", rope.type},
               {"short_factor", decimals(rope.short_factors)},
               {"long_factor", decimals(rope.long_factors)}};
  if (std::abs(rope.attention_factor - usual) > 1e-6 * usual)
    scaling["attention_factor"] = rope.attention_factor;
  config["rope_scaling"] = scaling;
  scaling.erase("type");
  scaling["rope_type"] = rope.type;
  scaling["original_max_position_embeddings"] = rope.original_context;
  scaling["rope_theta"] = rope.theta;
  config["rope_parameters"] = std::move(scaling);
  config["rope_theta"] = rope.theta;
}

}  // namespace

void put_rope(const RopeSettings& rope, Json& config) {
  if (rope.type == "longrope") return put_longrope(rope, config);
  Json scaling;
  scaling["rope_type"] = rope.type;
  if (rope.type != "default") scaling["factor"] = rope.factor;
  if (rope.type == "llama3") {
    scaling["low_freq_factor"] = rope.low_freq_factor;
    scaling["high_freq_factor"] = rope.high_freq_factor;
  }
  if (!rope.truncate) scaling["truncate"] = false;
  if (rope.mscale != 0) scaling["mscale"] = scaling["mscale_all_dim"] = rope.mscale;
  if (rope.original_context > 0)
    scaling["original_max_position_embeddings"] = rope.original_context;
  if (rope.type != "default") config["rope_scaling"] = scaling;
  scaling["rope_theta"] = rope.theta;
  config["rope_parameters"] = scaling;
  config["rope_theta"] = rope.theta;
}

}  // namespace lancet
