#include "formats/config/hf_config.h"

#include <string>

namespace lancet {
namespace {

constexpr std::string_view kWord = "Infinity";
constexpr std::string_view kSpelled = R"({"__float__": "Infinity"})";

bool in_word(char c) {
  return c == '-' || c == '+' || c == '.' || c == '_' || (c >= '0' && c <= '9') ||
         (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

}  // namespace

Json parse_hf_config(std::string_view text, std::string_view source) {
  if (text.find(kWord) == std::string_view::npos) return parse_json(text, source);
  std::string out;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (in_string && text[i] == '\\' && i + 1 < text.size()) {
      out += text[i++];
    } else if (text[i] == '"') {
      in_string = !in_string;
    } else if (!in_string && text.substr(i).starts_with(kWord) &&
               (i == 0 || !in_word(text[i - 1])) &&
               (i + kWord.size() == text.size() || !in_word(text[i + kWord.size()]))) {
      out += kSpelled;
      i += kWord.size() - 1;
      continue;
    }
    out += text[i];
  }
  return parse_json(out, source);
}

}  // namespace lancet
