#include "formats/tokenizer/declared_tokens.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <unordered_map>

namespace lancet {
namespace {

constexpr std::array<std::string_view, 7> kRoles = {
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

Json read_object(const SideFileReader& read, std::string_view name) {
  const auto text = read(name);
  Json value = text ? parse_json(*text, name) : Json::object();
  return value.is_object() ? value : Json::object();
}

/// A token from its text, or from an object with its "content"; null for anything else.
Json token_of(const Json& value, bool special) {
  const auto content = value.is_object() ? value.find("content") : value.end();
  const bool object = value.is_object() && content != value.end() && content->is_string();
  if (!object && !value.is_string()) return nullptr;
  const auto flag = [&](const char* name, bool fallback) {
    const auto found = object ? value.find(name) : value.end();
    return object && found != value.end() && found->is_boolean() ? found->get<bool>() : fallback;
  };
  special = special || flag("special", false);
  return {{"id", nullptr},
          {"content", object ? *content : value},
          {"single_word", flag("single_word", false)},
          {"lstrip", flag("lstrip", false)},
          {"rstrip", flag("rstrip", false)},
          {"normalized", flag("normalized", !special)},
          {"special", special}};
}

bool is_role(std::string_view name) { return std::ranges::find(kRoles, name) != kRoles.end(); }

class Reader {
 public:
  explicit Reader(const SideFileReader& read) : read_(read) {}

  DeclaredTokens run() {
    out_.config = read_object(read_, "tokenizer_config.json");
    for (const std::string_view role : kRoles) {
      if (const auto found = out_.config.find(role); found != out_.config.end())
        set(std::string(role), *found);
    }
    read_roles(out_.config);
    const char* extra =
        out_.config.contains("extra_special_tokens") ? kExtraKeys[0] : kExtraKeys[1];
    add_extra(out_.config, extra);
    const auto decoder = out_.config.find("added_tokens_decoder");
    if (decoder != out_.config.end()) {
      read_decoder(*decoder);
    } else {  // files of older versions
      const Json map = read_object(read_, "special_tokens_map.json");
      read_roles(map);
      for (const char* key : kExtraKeys) add_extra(map, key);
      read_added(read_object(read_, "added_tokens.json"));
    }
    return std::move(out_);
  }

 private:
  static constexpr std::array kExtraKeys = {"extra_special_tokens", "additional_special_tokens"};

  void set(const std::string& role, const Json& value) {
    Json token = token_of(value, true);
    if (token.is_null() && !value.is_null()) return;
    const auto found = std::ranges::find(out_.roles, role, &std::pair<std::string, Json>::first);
    if (found == out_.roles.end()) {
      out_.roles.emplace_back(role, std::move(token));
    } else {
      found->second = std::move(token);
    }
  }

  /// Roles of transformers, and any other "..._token"; those that a model names itself lie deeper,
  /// too.
  void read_roles(const Json& file) {
    for (const auto& [name, value] : file.items()) {
      if (name.ends_with("_token") && (is_role(name) || !value.is_null())) set(name, value);
    }
    for (const char* key : {"extra_special_tokens", "model_specific_special_tokens"}) {
      const auto own = file.find(key);
      if (own == file.end() || !own->is_object()) continue;
      for (const auto& [name, value] : own->items()) set(name, value);
    }
  }

  void add_extra(const Json& file, const char* key) {
    const auto list = file.find(key);
    if (list == file.end() || !list->is_array()) return;
    for (const Json& value : *list) {
      Json token = token_of(value, true);
      if (!token.is_null()) out_.extra.push_back(std::move(token));
    }
  }

  void read_decoder(const Json& decoder) {
    if (!decoder.is_object()) return;
    std::map<std::int64_t, Json> tokens;
    for (const auto& [key, value] : decoder.items()) {
      std::int64_t id = -1;
      const auto [stop, code] = std::from_chars(key.data(), key.data() + key.size(), id);
      Json token = value.is_object() ? token_of(value, false) : Json();
      if (code == std::errc() && stop == key.data() + key.size() && !token.is_null())
        tokens.insert_or_assign(id, std::move(token));
    }
    for (auto& [id, token] : tokens) out_.numbered.push_back(std::move(token));
  }

  void read_added(const Json& added) {
    std::multimap<std::int64_t, Json> tokens;
    for (const auto& [content, id] : added.items()) {
      if (id.is_number_integer())
        tokens.emplace(id.get<std::int64_t>(), token_of(content, is_special(content)));
    }
    for (auto& [id, token] : tokens) out_.numbered.push_back(std::move(token));
  }

  [[nodiscard]] bool is_special(const std::string& content) const {
    const auto spells = [&](const Json& token) {
      return token.is_object() && token.at("content") == content;
    };
    return std::ranges::any_of(out_.extra, spells) ||
           std::ranges::any_of(out_.roles, [&](const auto& role) {
             return is_role(role.first) && spells(role.second);
           });
  }

  const SideFileReader& read_;
  DeclaredTokens out_;
};

}  // namespace

const Json* DeclaredTokens::role(std::string_view name) const {
  const auto found = std::ranges::find(roles, name, &std::pair<std::string, Json>::first);
  return found == roles.end() ? nullptr : &found->second;
}

bool DeclaredTokens::add_to(Json& added_tokens, bool replace_plain) const {
  if (!added_tokens.is_array() && !added_tokens.is_null()) return false;
  std::unordered_map<std::string, std::size_t> places;
  for (std::size_t i = 0; i < added_tokens.size(); ++i) {
    const Json& token = added_tokens[i];
    const auto content = token.is_object() ? token.find("content") : token.end();
    if (token.is_object() && content != token.end() && content->is_string())
      places.emplace(content->get<std::string>(), i);
  }
  bool changed = false;
  const auto add = [&](const Json& token, bool replaces) {
    const auto [place, fresh] =
        places.emplace(token.at("content").get<std::string>(), added_tokens.size());
    if (fresh) {
      changed = true;
      added_tokens.push_back(token);
      return;
    }
    Json& own = added_tokens[place->second];
    if (!replaces || !(replace_plain || own.value("special", Json()) == true)) return;
    for (const char* flag : {"single_word", "lstrip", "rstrip", "normalized", "special"}) {
      if (own.value(flag, Json(false)) == token.at(flag)) continue;
      changed = true;
      own[flag] = token.at(flag);
    }
  };
  for (const Json& token : numbered) add(token, true);
  for (const auto& [name, token] : roles) {
    if (token.is_object()) add(token, false);
  }
  for (const Json& token : extra) add(token, false);
  return changed;
}

DeclaredTokens read_declared_tokens(const SideFileReader& read) { return Reader(read).run(); }

DeclaredTokens read_declared_tokens(const std::map<std::string, std::string>& files) {
  return read_declared_tokens([&](std::string_view name) {
    const auto found = files.find(std::string(name));
    return found == files.end() ? std::nullopt : std::optional(found->second);
  });
}

}  // namespace lancet
