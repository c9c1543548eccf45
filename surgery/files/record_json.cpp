#include "surgery/files/record_json.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "surgery/files/words.h"

namespace lancet {
namespace {

const Json* first_text(const Json& value) {
  const Json* at = &value;
  while (at->is_array() && !at->empty()) at = &at->front();
  return at->is_string() ? at : nullptr;
}

}  // namespace

void bad_key(std::string_view key, std::string_view expected, std::string_view found) {
  fail(ErrorKind::kUsage, "facts",
       fmt::format("key '{}': expected {}, found {}", key, expected, found));
}

const Json* find_key(const Json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

std::string text_at(const Json& object, std::string_view key) {
  const Json* value = find_key(object, key);
  if (value == nullptr) bad_key(key, "text", "nothing");
  const Json* text = first_text(*value);
  if (text == nullptr) bad_key(key, "text", value->type_name());
  return text->get<std::string>();
}

std::optional<std::string> optional_text(const Json& object, std::string_view key) {
  const Json* value = find_key(object, key);
  if (value == nullptr) return std::nullopt;
  if (value->is_array() && value->empty()) return std::nullopt;
  return text_at(object, key);
}

std::vector<std::string> texts_at(const Json& object, std::string_view key) {
  const Json* value = find_key(object, key);
  if (value == nullptr) return {};
  if (value->is_string()) return {value->get<std::string>()};
  if (!value->is_array()) bad_key(key, "a list of texts", value->type_name());
  std::vector<std::string> out;
  for (const Json& item : *value) {
    if (!item.is_string()) bad_key(key, "a list of texts", item.type_name());
    out.push_back(item.get<std::string>());
  }
  return out;
}

Json list_of(const Json& value) { return value.is_array() ? value : Json::array({value}); }

std::string target_text(std::string text) {
  if (text.starts_with(' ')) text.erase(0, 1);
  return text;
}

std::string template_of(std::string prompt, const std::string& subject, std::string_view key) {
  std::size_t at = find_word(prompt, subject);
  if (at == std::string::npos && !subject.empty()) at = prompt.find(subject);
  if (at == std::string::npos) {
    bad_key(key, fmt::format("a prompt that contains the subject '{}'", printable(subject)),
            "'" + printable(prompt) + "'");
  }
  return prompt.replace(at, subject.size(), "{}");
}

}  // namespace lancet
