#pragma once
// Keys of a record of facts. What is missing or of another kind is kUsage
// "key 'K': expected ..., found ...".

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace lancet {

[[noreturn]] void bad_key(std::string_view key, std::string_view expected, std::string_view found);

/// nullptr where the key is missing or null, or `object` is none.
[[nodiscard]] const Json* find_key(const Json& object, std::string_view key);

/// Text, or the first text inside nested lists (KnowEdit writes [["Paris"]]).
[[nodiscard]] std::string text_at(const Json& object, std::string_view key);
/// Nothing where the key is missing, null or an empty list.
[[nodiscard]] std::optional<std::string> optional_text(const Json& object, std::string_view key);
/// A text or a list of texts; empty where the key is missing.
[[nodiscard]] std::vector<std::string> texts_at(const Json& object, std::string_view key);
/// The value itself where it is a list, else a list of it.
[[nodiscard]] Json list_of(const Json& value);

/// A target without its leading blank.
[[nodiscard]] std::string target_text(std::string text);
/// Puts "{}" where the subject stands: where it is a word of its own, else wherever it is found.
[[nodiscard]] std::string template_of(std::string prompt, const std::string& subject,
                                      std::string_view key);

}  // namespace lancet
