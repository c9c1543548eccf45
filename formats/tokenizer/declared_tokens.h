#pragma once
// What the files beside a tokenizer say of its tokens, as transformers 5 reads them:
// tokenizer_config.json, special_tokens_map.json and added_tokens.json.

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/json.h"

namespace lancet {

/// Text of a file of a model's directory, if there is one.
using SideFileReader = std::function<std::optional<std::string>(std::string_view name)>;

/// Tokens are objects as in tokenizer.json's added_tokens, with null for an id.
struct DeclaredTokens {
  Json config = Json::object();  ///< tokenizer_config.json
  /// "bos_token", ..., "image_token": null where the files say that there is none.
  std::vector<std::pair<std::string, Json>> roles;
  std::vector<Json> extra;     ///< special tokens without a role
  std::vector<Json> numbered;  ///< of added_tokens_decoder, else of added_tokens.json, by id

  /// Null pointer where nothing is said of the role.
  [[nodiscard]] const Json* role(std::string_view name) const;

  /// Adds those that tokenizer.json's `added_tokens` lacks, in the order in which they get ids.
  /// Numbered ones replace the flags of their content's, with `replace_plain` also those of tokens
  /// that are not special. False where nothing changed.
  bool add_to(Json& added_tokens, bool replace_plain = true) const;
};

/// Files that are no objects count as empty. Errors: kInput for a file that is no JSON.
[[nodiscard]] DeclaredTokens read_declared_tokens(const SideFileReader& read);
[[nodiscard]] DeclaredTokens read_declared_tokens(const std::map<std::string, std::string>& files);

/// The special tokens that chat templates see, {"bos_token": "<s>", ...}: those of the tokenizer's
/// class (that of `config`, else of the architecture `model_type`) where the files say nothing.
[[nodiscard]] Json special_tokens(const DeclaredTokens& declared, std::string_view model_type);

}  // namespace lancet
