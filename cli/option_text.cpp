#include "cli/option_text.h"

#include <algorithm>
#include <cctype>
#include <cstdio>

namespace lancet {
namespace {

bool is_of_key(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

/// Where line `line` and column `column` (from 1) are in `text`, at most its size.
std::size_t offset_of(std::string_view text, int line, int column) {
  std::size_t at = 0;
  for (int i = 1; i < line; ++i) at = std::min(text.find('\n', at), text.size() - 1) + 1;
  return std::min(at + static_cast<std::size_t>(column) - 1, text.size());
}

/// The key that begins at `at`, perhaps quoted, or the last one before it.
std::string_view key_at(std::string_view text, std::size_t at) {
  std::size_t begin = at < text.size() && text[at] == '"' ? at + 1 : at, end = begin;
  while (end < text.size() && is_of_key(text[end])) ++end;
  const std::size_t colon = end < text.size() && text[end] == '"' ? end + 1 : end;
  if (end > begin && colon < text.size() && text[colon] == ':')
    return text.substr(begin, end - begin);
  end = text.substr(0, at).rfind(": ");
  if (end == std::string_view::npos) return {};
  if (end > 0 && text[end - 1] == '"') --end;
  begin = end;
  while (begin > 0 && is_of_key(text[begin - 1])) --begin;
  return text.substr(begin, end - begin);
}

}  // namespace

Error of_options(const Error& error, std::string_view text,
                 const std::function<std::string(std::string_view key)>& option) {
  int line = 0, column = 0, length = 0;
  const bool placed =
      std::sscanf(error.message().c_str(), "options:%d:%d: %n", &line, &column, &length) == 2;
  if (!placed || length == 0 || line < 1 || column < 1 || text.empty()) return error;
  const std::string name = option(key_at(text, offset_of(text, line, column)));
  if (name.empty()) return error;
  return Error(error.kind(), error.operation(),
               name + ": " + error.message().substr(static_cast<std::size_t>(length)),
               error.hint());
}

}  // namespace lancet
