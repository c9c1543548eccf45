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

/// The family's own value of a key that the config leaves out: sizes of a small model may not have
/// the room for it.
std::int64_t checked_default(std::string_view key, std::int64_t least, std::int64_t limit,
                             std::int64_t value) {
  if (value >= least && value <= limit) return value;
  fail(ErrorKind::kMismatch, "model",
       "expected a whole number from " + std::to_string(least) + " to " + std::to_string(limit) +
           " for '" + std::string(key) + "', found none, which means " + std::to_string(value) +
           " (config.json)");
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
  return find(config, key) == nullptr ? checked_default(key, 1, limit, fallback)
                                      : read_size(config, key, limit);
}

std::int64_t read_optional_size(const Json& config, std::string_view key, std::int64_t limit) {
  return find(config, key) == nullptr ? 0 : read_size(config, key, limit);
}

std::int64_t read_count(const Json& config, std::string_view key, std::int64_t limit,
                        std::int64_t fallback) {
  const Json* value = find(config, key);
  if (value == nullptr) return checked_default(key, 0, limit, fallback);
  return *value == 0 ? 0 : read_size(config, key, limit);
}

std::int64_t read_window(const Json& config, std::int64_t fallback) {
  return config.contains("sliding_window")
             ? read_optional_size(config, "sliding_window", kMaxPositions)
             : fallback;
}

double read_softcap(const Json& config, std::string_view key, double fallback) {
  if (!config.contains(key)) return fallback;
  const double cap = read_number(config, key, 0);
  if (cap < 0 || (cap == 0 && find(config, key) != nullptr))
    fail_config(key, cap, "a number above 0, or null");
  return cap;
}

double read_number(const Json& config, std::string_view key, double fallback) {
  return find(config, key) == nullptr ? fallback : json_number(config, key, kWhere, fallback);
}

bool read_flag(const Json& config, std::string_view key, bool fallback) {
  return find(config, key) == nullptr ? fallback : json_bool(config, key, kWhere, fallback);
}

Activation read_activation(const Json& config, std::string_view key, std::string_view fallback) {
  constexpr std::array<std::pair<std::string_view, Activation>, 9> kKnown{{
      {"silu", Activation::kSilu},
      {"swish", Activation::kSilu},
      {"gelu", Activation::kGelu},
      {"gelu_new", Activation::kGeluTanh},
      {"gelu_fast", Activation::kGeluTanh},
      {"gelu_pytorch_tanh", Activation::kGeluTanh},
      {"quick_gelu", Activation::kQuickGelu},
      {"relu", Activation::kRelu},
      {"relu2", Activation::kRelu2},
  }};
  const Json* value = find(config, key);
  const std::string name = value == nullptr     ? std::string(fallback)
                           : value->is_string() ? value->get<std::string>()
                                                : std::string();
  const auto* at = std::ranges::find(kKnown, name, [](const auto& entry) { return entry.first; });
  if (at == kKnown.end()) {
    fail_config(
        key, *value,
        "one of silu, swish, gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, quick_gelu, relu, "
        "relu2");
  }
  return at->second;
}

std::size_t read_choice(const Json& config, std::string_view key,
                        std::span<const std::string_view> choices, std::string_view fallback) {
  const Json* value = find(config, key);
  const std::string name = value == nullptr     ? std::string(fallback)
                           : value->is_string() ? value->get<std::string>()
                                                : std::string();
  const auto at = std::ranges::find(choices, name);
  if (at != choices.end()) return static_cast<std::size_t>(at - choices.begin());
  std::string list;
  for (const std::string_view choice : choices)
    list += (list.empty() ? "" : ", ") + std::string(choice);
  fail_config(key, value == nullptr ? Json() : *value, "one of " + list);
}

void expect_option(const Json& config, std::string_view key, const Json& value) {
  const Json* found = find(config, key);
  if (found != nullptr && *found != value) fail_config(key, *found, dump_json(value));
}

std::vector<bool> read_layer_types(const Json& config, std::int64_t layers, std::string_view type,
                                   const std::function<bool(std::int64_t)>& fallback) {
  const Json* list = find(config, "layer_types");
  std::vector<bool> out;
  if (list == nullptr) {
    for (std::int64_t i = 0; i < layers; ++i) out.push_back(fallback(i));
    return out;
  }
  if (!list->is_array() || std::cmp_not_equal(list->size(), layers)) {
    fail_config("layer_types", *list, "a list of " + std::to_string(layers) + " entries");
  }
  for (const Json& entry : *list) {
    if (entry != "full_attention" && entry != Json(std::string(type))) {
      fail_config("layer_types", entry, "full_attention or " + std::string(type));
    }
    out.push_back(entry != "full_attention");
  }
  return out;
}

std::vector<bool> read_layer_flags(const Json& config, std::string_view key, std::int64_t layers,
                                   const std::function<bool(std::int64_t)>& fallback) {
  const Json* list = find(config, key);
  std::vector<bool> out;
  if (list == nullptr) {
    for (std::int64_t i = 0; i < layers; ++i) out.push_back(fallback(i));
    return out;
  }
  if (!list->is_array() || std::cmp_not_equal(list->size(), layers)) {
    fail_config(key, *list, "a list of " + std::to_string(layers) + " entries");
  }
  for (const Json& entry : *list) {
    if (entry != 0 && entry != 1 && !entry.is_boolean()) fail_config(key, entry, "0 or 1");
    out.push_back(entry.is_boolean() ? entry.get<bool>() : entry == 1);
  }
  return out;
}

std::vector<bool> read_named_layers(const Json& config, std::string_view key, std::int64_t layers) {
  std::vector<bool> out(static_cast<std::size_t>(layers), false);
  const Json* list = find(config, key);
  if (list == nullptr) return out;
  if (!list->is_array()) fail_config(key, *list, "a list of layers");
  for (const Json& entry : *list) {
    if (!entry.is_number_integer() || entry < 0 || entry >= layers) {
      fail_config(key, entry, "layers from 0 to " + std::to_string(layers - 1));
    }
    out[entry.get<std::size_t>()] = true;
  }
  return out;
}

}  // namespace lancet
