// graft_config of merge/graft.h.
#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "core/text.h"
#include "merge/graft.h"

namespace lancet {
namespace {

constexpr std::array<std::string_view, 3> kIds{"bos_token_id", "eos_token_id", "pad_token_id"};

Json parse_file(const std::map<std::string, std::string>& files, const std::string& name,
                const std::string& label) {
  const auto file = files.find(name);
  return file == files.end() ? Json() : parse_json(file->second, label + "/" + name);
}

/// What the donor says of a key: its generation config first where that is what is written, then
/// config, then the role in its tokenizer.
Json donor_id(std::string_view key, const std::vector<const Json*>& from, const TokenTable& donor) {
  for (const Json* json : from) {
    if (json->is_object() && json->contains(key) && !json->at(std::string(key)).is_null())
      return json->at(std::string(key));
  }
  const auto role = donor.roles().find(std::string(key.substr(0, key.size() - 3)));
  return role == donor.roles().end() ? Json() : Json(role->second);
}

/// Another id, of the same piece in the donor; null where it has none.
Json moved_id(const Json& value, const TokenTable& model, const TokenTable& donor) {
  if (!value.is_number_integer()) return nullptr;
  const auto id = value.get<std::int64_t>();
  if (id < 0 || id >= static_cast<std::int64_t>(model.tokens().size())) return nullptr;
  const std::string& piece = model.tokens()[static_cast<std::size_t>(id)].piece;
  const auto found = piece.empty() ? std::nullopt : donor.find_piece(piece);
  return found ? Json(*found) : Json();
}

void set_ids(Json& json, const std::vector<const Json*>& from, const TokenTable& model,
             const TokenTable& donor, std::vector<std::string>& warnings) {
  for (const std::string_view key : kIds) {
    Json value = donor_id(key, from, donor);
    const std::string name(key);
    if (!value.is_null() || json.contains(name)) json[name] = std::move(value);
  }
  for (auto& [key, value] : json.items()) {
    const bool other = (key.ends_with("_token_id") || key.ends_with("_token_index")) &&
                       std::ranges::find(kIds, key) == kIds.end();
    if (!other || value.is_null()) continue;
    Json moved = moved_id(value, model, donor);
    if (moved.is_null()) {
      warnings.push_back(fmt::format("{} named a token that '{}' does not have: now null",
                                     printable(key), printable(donor.label(), 200)));
    }
    value = std::move(moved);
  }
}

}  // namespace

void graft_config(std::map<std::string, std::string>& files, const ModelSource& donor,
                  const TokenTable& model_tokens, const TokenTable& donor_tokens, std::int64_t rows,
                  std::vector<std::string>& warnings) {
  const auto theirs = donor.side_files();
  const Json their_config = parse_file(theirs, "config.json", donor_tokens.label());
  const Json their_generation = parse_file(theirs, "generation_config.json", donor_tokens.label());
  Json config = parse_file(files, "config.json", model_tokens.label());
  config["vocab_size"] = rows;
  set_ids(config, {&their_config}, model_tokens, donor_tokens, warnings);
  files["config.json"] = dump_json(config, 2) + "\n";
  Json generation = parse_file(files, "generation_config.json", model_tokens.label());
  if (!generation.is_object()) return;
  set_ids(generation, {&their_generation, &their_config}, model_tokens, donor_tokens, warnings);
  files["generation_config.json"] = dump_json(generation, 2) + "\n";
}

}  // namespace lancet
