#include "distill/teacher/journal_line.h"

#include <fmt/format.h>

#include "core/hash.h"

namespace lancet {

std::optional<JournalKey> parse_journal_key(std::string_view hex) {
  if (hex.size() != 64) return std::nullopt;
  JournalKey out{};
  for (std::size_t i = 0; i < 64; ++i) {
    const char c = hex[i];
    const bool digit = c >= '0' && c <= '9';
    if (!digit && !(c >= 'a' && c <= 'f')) return std::nullopt;
    out[i / 16] = out[i / 16] << 4 | static_cast<unsigned>(digit ? c - '0' : c - 'a' + 10);
  }
  return out;
}

std::string journal_line(const Json& document) {
  const std::string text = dump_json(document);
  return fmt::format("{} {}\n", sha256_hex(text).substr(0, kSumDigits), text);
}

bool is_whole_line(std::string_view line) {
  return line.size() > kSumDigits + 1 && line[kSumDigits] == ' ' &&
         sha256_hex(line.substr(kSumDigits + 1)).starts_with(line.substr(0, kSumDigits));
}

}  // namespace lancet
