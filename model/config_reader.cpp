#include "model/config_reader.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/text.h"

namespace lancet {
namespace {

constexpr std::string_view kWhere = "config.json";

/// The value of a key, or null where it is absent or null.
const Json* find(const Json& object, std::string_view key) {
  const auto at = object.find(key);
  return at == object.end() || at->is_null() ? nullptr : &*at;
}

/// The object that holds the rope options, standardised: {rope_type, rope_theta, ...}.
Json rope_options(const Json& config) {
  Json options = Json::object();
  for (const std::string_view key : {"rope_parameters", "rope_scaling"}) {
    const Json* found = find(config, key);
    if (found == nullptr) continue;
    if (!found->is_object()) fail_config(key, *found, "an object");
    options = *found;
    break;
  }
  for (const auto& [key, value] : options.items()) {
    if (value.is_object()) fail_config(key, value, "one set of rope parameters for all layers");
  }
  if (find(options, "rope_type") == nullptr) {
    const Json* type = find(options, "type");
    options["rope_type"] = type == nullptr ? Json("default") : *type;
  }
  if (find(options, "rope_theta") == nullptr)
    options["rope_theta"] = read_number(config, "rope_theta", 10000);
  return options;
}

double positive(const Json& options, std::string_view key, double fallback) {
  const double value = read_number(options, key, fallback);
  if (!(value > 0) || !std::isfinite(value))
    fail_config(key, options.value(std::string(key), Json()), "a number above 0");
  return value;
}

double required_factor(const Json& options) {
  if (find(options, "factor") == nullptr)
    fail_config("rope_parameters.factor", Json(), "a number of at least 1");
  const double factor = positive(options, "factor", 1);
  return factor;
}

std::vector<double> factor_list(const Json& options, std::string_view key, std::int64_t count) {
  const Json* list = find(options, key);
  if (list == nullptr || !list->is_array() || std::cmp_not_equal(list->size(), count)) {
    fail_config(key, list == nullptr ? Json() : *list, std::to_string(count) + " numbers");
  }
  std::vector<double> out;
  for (const Json& value : *list) {
    if (!value.is_number() || !(value.get<double>() > 0))
      fail_config(key, value, "numbers above 0");
    out.push_back(value.get<double>());
  }
  return out;
}

/// Positions the model was first trained on, for the kinds that stretch them.
std::int64_t original_positions(const Json& config, const Json& options,
                                std::int64_t max_positions) {
  constexpr std::string_view key = "original_max_position_embeddings";
  return read_size(config, key, kMaxPositions,
                   read_size(options, key, kMaxPositions, max_positions));
}

double yarn_attention_factor(const Json& options, double factor) {
  const auto scale = [factor](double m) {
    return factor <= 1 ? 1.0 : 0.1 * m * std::log(factor) + 1;
  };
  const double m = read_number(options, "mscale", 0);
  const double all = read_number(options, "mscale_all_dim", 0);
  return read_number(options, "attention_factor",
                     m != 0 && all != 0 ? scale(m) / scale(all) : scale(1));
}

void read_yarn(const Json& options, std::int64_t max_positions, RopeSpec& rope) {
  rope.factor =
      positive(options, "factor",
               static_cast<double>(max_positions) / static_cast<double>(rope.original_positions));
  const double fast = read_number(options, "beta_fast", 32);
  const double slow = read_number(options, "beta_slow", 1);
  rope.beta_fast = fast == 0 ? 32 : fast;
  rope.beta_slow = slow == 0 ? 1 : slow;
  rope.yarn_truncate = read_flag(options, "truncate", true);
  rope.attention_factor = yarn_attention_factor(options, rope.factor);
}

void read_longrope(const Json& options, std::int64_t max_positions, RopeSpec& rope) {
  rope.short_factors = factor_list(options, "short_factor", rope.dims / 2);
  rope.long_factors = factor_list(options, "long_factor", rope.dims / 2);
  const auto original = static_cast<double>(rope.original_positions);
  rope.factor = positive(options, "factor", static_cast<double>(max_positions) / original);
  const double suggested =
      rope.factor <= 1 ? 1 : std::sqrt(1 + std::log(rope.factor) / std::log(original));
  rope.attention_factor = read_number(options, "attention_factor", suggested);
}

}  // namespace

void fail_config(std::string_view key, const Json& value, std::string_view expected) {
  fail(ErrorKind::kMismatch, "model",
       "expected " + std::string(expected) + " for '" + std::string(key) + "', found " +
           printable(dump_json(value)) + " (config.json)");
}

std::int64_t read_size(const Json& config, std::string_view key, std::int64_t limit) {
  const Json* value = find(config, key);
  if (value == nullptr || !value->is_number_integer() || value->get<std::int64_t>() < 1 ||
      value->get<std::int64_t>() > limit) {
    fail_config(key, value == nullptr ? Json() : *value,
                "a whole number from 1 to " + std::to_string(limit));
  }
  return value->get<std::int64_t>();
}

std::int64_t read_size(const Json& config, std::string_view key, std::int64_t limit,
                       std::int64_t fallback) {
  return find(config, key) == nullptr ? fallback : read_size(config, key, limit);
}

double read_number(const Json& config, std::string_view key, double fallback) {
  return find(config, key) == nullptr ? fallback : json_number(config, key, kWhere, fallback);
}

bool read_flag(const Json& config, std::string_view key, bool fallback) {
  return find(config, key) == nullptr ? fallback : json_bool(config, key, kWhere, fallback);
}

Activation read_activation(const Json& config, std::string_view key, std::string_view fallback) {
  constexpr std::array<std::pair<std::string_view, Activation>, 8> kKnown{{
      {"silu", Activation::kSilu},
      {"swish", Activation::kSilu},
      {"gelu", Activation::kGelu},
      {"gelu_new", Activation::kGeluTanh},
      {"gelu_fast", Activation::kGeluTanh},
      {"gelu_pytorch_tanh", Activation::kGeluTanh},
      {"relu", Activation::kRelu},
      {"relu2", Activation::kRelu2},
  }};
  const Json* value = find(config, key);
  const std::string name = value == nullptr     ? std::string(fallback)
                           : value->is_string() ? value->get<std::string>()
                                                : std::string();
  const auto* at = std::ranges::find(kKnown, name, [](const auto& entry) { return entry.first; });
  if (at == kKnown.end()) {
    fail_config(key, *value,
                "one of silu, swish, gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, relu, relu2");
  }
  return at->second;
}

RopeSpec read_rope(const Json& config, std::int64_t d_head, std::int64_t max_positions) {
  const Json options = rope_options(config);
  for (const Json* place : {&config, &options}) {
    if (read_number(*place, "partial_rotary_factor", 1) != 1) {
      fail_config("partial_rotary_factor", place->at("partial_rotary_factor"), "1");
    }
  }
  RopeSpec rope;
  rope.dims = d_head;
  rope.theta = positive(options, "rope_theta", 10000);
  rope.original_positions = original_positions(config, options, max_positions);
  const std::string type = json_string(options, "rope_type", kWhere);
  if (type == "default") {
    rope.kind = RopeKind::kDefault;
  } else if (type == "linear") {
    rope.kind = RopeKind::kLinear;
    rope.factor = required_factor(options);
  } else if (type == "dynamic") {
    rope.kind = RopeKind::kDynamic;
    rope.factor = required_factor(options);
  } else if (type == "llama3") {
    rope.kind = RopeKind::kLlama3;
    rope.factor = required_factor(options);
    rope.low_freq_factor = positive(options, "low_freq_factor", 1);
    rope.high_freq_factor = positive(options, "high_freq_factor", 4);
  } else if (type == "yarn") {
    rope.kind = RopeKind::kYarn;
    read_yarn(options, max_positions, rope);
  } else if (type == "longrope") {
    rope.kind = RopeKind::kLongRope;
    read_longrope(options, max_positions, rope);
  } else {
    fail_config("rope_type", type, "one of default, linear, dynamic, llama3, yarn, longrope");
  }
  return rope;
}

}  // namespace lancet
