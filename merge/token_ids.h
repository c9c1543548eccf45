#pragma once
// What configurations say of single tokens (bos, eos, pad ...) when another vocabulary takes the
// place of theirs.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace lancet {

/// The vocabulary that takes the place of another.
struct TokenIds {
  Json config, generation;  ///< config.json and generation_config.json of its model, null where
                            ///< there are none
  std::map<std::string, std::int64_t> roles;  ///< token_roles of its tokenizer
  std::string label;                          ///< its model, for warnings
  /// The id that a token of the old vocabulary has in it.
  std::function<std::optional<std::int64_t>(std::int64_t old)> moved;
};

/// "bos_token", "eos_token", "pad_token", "unk_token" -> id, those that the tokenizer's files give
/// a token that `find` knows. `label`: their model, for errors.
[[nodiscard]] std::map<std::string, std::int64_t> token_roles(
    const std::map<std::string, std::string>& files, const std::string& label,
    const std::function<std::optional<std::int64_t>(const std::string&)>& find);

/// A side file as JSON, null where there is none.
[[nodiscard]] Json side_json(const std::map<std::string, std::string>& files,
                             const std::string& name, const std::string& label);

/// bos, eos and pad of both as the new vocabulary's model has them (`generation`: its generation
/// configuration first), other ids as `moved` says, null with a warning where it has no such token.
/// A null `generation` stays so.
void set_token_ids(Json& config, Json& generation, const TokenIds& ids,
                   std::vector<std::string>& warnings);

}  // namespace lancet
