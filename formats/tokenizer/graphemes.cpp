#include "formats/tokenizer/graphemes.h"

#include <utf8proc.h>

#include "formats/tokenizer/character_tables.h"
#include "formats/tokenizer/unicode.h"

namespace lancet {
namespace {

constexpr char32_t kZeroWidthJoiner = 0x200D;

int break_class(char32_t c) {
  return utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->boundclass;
}

bool is_control(char32_t c) {
  const int kind = break_class(c);
  return kind == UTF8PROC_BOUNDCLASS_CONTROL || kind == UTF8PROC_BOUNDCLASS_CR ||
         kind == UTF8PROC_BOUNDCLASS_LF;
}

}  // namespace

std::size_t grapheme_end(std::string_view text, std::size_t begin) noexcept {
  const auto ascii_at = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]) < 0x80; };
  std::size_t at = begin;
  char32_t c = decode_at(text.data(), at);
  if (at == text.size()) return at;
  if (c < 0x80 && ascii_at(at)) return c == '\r' && text[at] == '\n' ? at + 1 : at;
  if (is_control(c)) return at;
  const auto peek = [&] {
    std::size_t next = at;
    return decode_at(text.data(), next);
  };
  while (break_class(c) == UTF8PROC_BOUNDCLASS_PREPEND && at < text.size() && !is_control(peek()))
    c = decode_at(text.data(), at);
  const bool pictograph = break_class(c) == UTF8PROC_BOUNDCLASS_EXTENDED_PICTOGRAPHIC;
  while (at < text.size()) {
    const char32_t next = peek();
    const bool joined = pictograph && c == kZeroWidthJoiner &&
                        break_class(next) == UTF8PROC_BOUNDCLASS_EXTENDED_PICTOGRAPHIC;
    if (!joined && !has_trait(next, CharTrait::kExtending)) break;
    c = decode_at(text.data(), at);
  }
  return at;
}

}  // namespace lancet
