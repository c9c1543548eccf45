// RoPE options of config.json, in every spelling of transformers.

#include <cmath>
#include <string>
#include <utility>

#include "model/config_reader.h"

namespace lancet {
namespace {

constexpr std::string_view kWhere = "config.json";

/// The value of a key, or null where it is absent or null.
const Json* find(const Json& object, std::string_view key) {
  const auto at = object.find(key);
  return at == object.end() || at->is_null() ? nullptr : &*at;
}

/// rope_parameters or rope_scaling as the file has it; an empty object where it has none.
Json written_options(const Json& config, const RopeDefaults& defaults) {
  const Json* found = find(config, "rope_parameters");
  if (found == nullptr && defaults.scaled) found = find(config, "rope_scaling");
  if (found == nullptr) return Json::object();
  if (!found->is_object()) fail_config("rope_parameters", *found, "an object");
  const Json* part = defaults.layer_type.empty() ? nullptr : find(*found, defaults.layer_type);
  if (part != nullptr && !part->is_object()) fail_config(defaults.layer_type, *part, "an object");
  const Json& options = part == nullptr ? *found : *part;
  for (const auto& [key, value] : options.items()) {
    if (value.is_object()) fail_config(key, value, "one set of rope parameters for all layers");
  }
  return options;
}

/// The options, standardised: {rope_type, rope_theta, ...}.
Json rope_options(const Json& config, const RopeDefaults& defaults) {
  Json options = written_options(config, defaults);
  if (find(options, "rope_type") == nullptr) {
    const Json* type = find(options, "type");
    options["rope_type"] = type == nullptr ? Json("default") : *type;
  }
  if (find(options, "rope_theta") == nullptr)
    options["rope_theta"] = read_number(config, defaults.theta_key, defaults.theta);
  return options;
}

/// Dimensions of each head that turn.
std::int64_t rotated(const Json& config, const Json& options, std::int64_t d_head,
                     const RopeDefaults& defaults) {
  const double share = read_number(
      options, "partial_rotary_factor",
      read_number(config, defaults.partial_key, defaults.partial == 0 ? 1 : defaults.partial));
  if (defaults.partial == 0 && share != 1) fail_config(defaults.partial_key, share, "1");
  const auto dims = static_cast<std::int64_t>(static_cast<double>(d_head) * share);
  if (!(share > 0) || share > 1 || dims < 2 || dims % 2 != 0) {
    fail_config(defaults.partial_key, share,
                "an even number of the " + std::to_string(d_head) + " dimensions of a head");
  }
  return dims;
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

RopeSpec read_rope(const Json& config, std::int64_t d_head, std::int64_t max_positions,
                   const RopeDefaults& defaults) {
  const Json options = rope_options(config, defaults);
  RopeSpec rope;
  rope.dims = rotated(config, options, d_head, defaults);
  rope.theta = positive(options, "rope_theta", defaults.theta);
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
  } else if (type == "longrope" || type == "su") {
    rope.kind = RopeKind::kLongRope;
    read_longrope(options, max_positions, rope);
  } else {
    fail_config("rope_type", type, "one of default, linear, dynamic, llama3, yarn, longrope");
  }
  return rope;
}

}  // namespace lancet
