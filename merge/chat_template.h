#pragma once
// The chat template of a merged model: `chat_template` of a recipe.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "merge/input.h"

namespace lancet {

/// The names that recipes may use.
[[nodiscard]] std::vector<std::string_view> known_chat_templates();

/// Jinja text for a recipe's value: "auto" (the one that most inputs have, the first of equals), a
/// known name, or Jinja itself (at least 20 characters with a brace). Empty when it is none of
/// these, or when auto finds none. Jinja that does not parse is Error(kInput).
[[nodiscard]] std::string choose_chat_template(
    const std::string& value, const std::vector<std::shared_ptr<const MergeInput>>& inputs);

}  // namespace lancet
