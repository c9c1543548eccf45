#include "merge/token_ids.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "core/text.h"

namespace lancet {
namespace {

constexpr std::array<const char*, 4> kRoles{"bos_token", "eos_token", "pad_token", "unk_token"};
constexpr std::array<std::string_view, 3> kIds{"bos_token_id", "eos_token_id", "pad_token_id"};

/// "</s>" or {"content": "</s>"}.
std::optional<std::string> content_of(const Json& object, const char* key) {
  if (!object.is_object() || !object.contains(key)) return std::nullopt;
  const Json& value = object[key];
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object() && value.contains("content") && value["content"].is_string())
    return value["content"].get<std::string>();
  return std::nullopt;
}

/// What the first of `from` that says a key says, else the role in the tokenizer.
Json id_of(std::string_view key, const std::vector<const Json*>& from, const TokenIds& ids) {
  for (const Json* json : from) {
    if (json->is_object() && json->contains(key) && !json->at(std::string(key)).is_null())
      return json->at(std::string(key));
  }
  const auto role = ids.roles.find(std::string(key.substr(0, key.size() - 3)));
  return role == ids.roles.end() ? Json() : Json(role->second);
}

void set_ids(Json& json, const std::vector<const Json*>& from, const TokenIds& ids,
             std::vector<std::string>& warnings) {
  for (const std::string_view key : kIds) {
    Json value = id_of(key, from, ids);
    const std::string name(key);
    if (!value.is_null() || json.contains(name)) json[name] = std::move(value);
  }
  for (auto& [key, value] : json.items()) {
    const bool other = (key.ends_with("_token_id") || key.ends_with("_token_index")) &&
                       std::ranges::find(kIds, key) == kIds.end();
    if (!other || value.is_null()) continue;
    const auto moved = value.is_number_integer() ? ids.moved(value.get<std::int64_t>())
                                                 : std::optional<std::int64_t>();
    if (!moved) {
      warnings.push_back(fmt::format("{} named a token that '{}' does not have: now null",
                                     printable(key), printable(ids.label, 200)));
    }
    value = moved ? Json(*moved) : Json();
  }
}

}  // namespace

std::map<std::string, std::int64_t> token_roles(
    const std::map<std::string, std::string>& files, const std::string& label,
    const std::function<std::optional<std::int64_t>(const std::string&)>& find) {
  std::map<std::string, std::int64_t> out;
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const Json json = side_json(files, name, label);
    for (const char* role : kRoles) {
      const auto content = content_of(json, role);
      const auto id = content ? find(*content) : std::nullopt;
      if (id) out.emplace(role, *id);
    }
  }
  return out;
}

Json side_json(const std::map<std::string, std::string>& files, const std::string& name,
               const std::string& label) {
  const auto file = files.find(name);
  return file == files.end() ? Json() : parse_json(file->second, label + "/" + name);
}

void set_token_ids(Json& config, Json& generation, const TokenIds& ids,
                   std::vector<std::string>& warnings) {
  set_ids(config, {&ids.config}, ids, warnings);
  if (generation.is_object()) set_ids(generation, {&ids.generation, &ids.config}, ids, warnings);
}

}  // namespace lancet
