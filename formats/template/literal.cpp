#include "formats/template/literal.h"

#include <cmath>

#include "core/text.h"
#include "formats/template/print.h"
#include "formats/template/runtime.h"
#include "formats/template/unicode.h"

namespace lancet::jinja {
namespace {

bool is_digit_of(char c, int base) noexcept {
  if (base <= 10) return c >= '0' && c < '0' + base;
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/// End of digits with single underscores between them, from `at`; `at` itself when none.
std::size_t digits(std::string_view text, std::size_t at, int base, bool leading_underscore) {
  std::size_t end = at;
  while (end < text.size()) {
    const bool underscore = text[end] == '_' && (end > at || leading_underscore);
    const std::size_t digit = underscore ? end + 1 : end;
    if (digit >= text.size() || !is_digit_of(text[digit], base)) break;
    end = digit + 1;
  }
  return end;
}

std::size_t scan_integer(std::string_view text, std::size_t at) {
  if (text[at] != '0') return digits(text, at, 10, false);
  const char mark = at + 1 < text.size() ? static_cast<char>(text[at + 1] | 0x20) : '\0';
  const int base = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
  if (base != 0) {
    const std::size_t end = digits(text, at + 2, base, true);
    if (end > at + 2) return end;
  }
  std::size_t end = at + 1;  // zero, as often as it is repeated
  while (end < text.size()) {
    const std::size_t zero = text[end] == '_' ? end + 1 : end;
    if (zero >= text.size() || text[zero] != '0') break;
    end = zero + 1;
  }
  return end;
}

std::size_t scan_real(std::string_view text, std::size_t at) {
  if (at > 0 && text[at - 1] == '.') return at;
  const std::size_t whole = digits(text, at, 10, false);
  if (whole == at) return at;
  std::size_t end = whole;
  bool real = false;
  if (end + 1 < text.size() && text[end] == '.') {
    const std::size_t fraction = digits(text, end + 1, 10, false);
    real = fraction > end + 1;
    if (real) end = fraction;
  }
  if (end < text.size() && (text[end] | 0x20) == 'e') {
    std::size_t power = end + 1;
    if (power < text.size() && (text[power] == '+' || text[power] == '-')) ++power;
    const std::size_t last = digits(text, power, 10, false);
    if (last > power) return last;
  }
  return real ? end : at;
}

[[noreturn]] void bad_escape(std::uint32_t line, std::string_view what) {
  fail_at(line, "truncated " + std::string(what) + " escape in a string");
}

/// Reads exactly `count` hexadecimal digits at `at`.
char32_t hex(std::string_view text, std::size_t at, std::size_t count, std::uint32_t line) {
  char32_t out = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (at + i >= text.size() || !is_digit_of(text[at + i], 16)) {
      bad_escape(line, count == 2 ? "\\xXX" : count == 4 ? "\\uXXXX" : "\\UXXXXXXXX");
    }
    const char c = text[at + i];
    out = out * 16 + static_cast<char32_t>(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
  }
  if (out > 0x10ffff) fail_at(line, "illegal Unicode character in a string");
  if (out >= 0xd800 && out < 0xe000) fail_at(line, "a surrogate code point in a string");
  return out;
}

char simple_escape(char c) noexcept {
  switch (c) {
    case '\\':
    case '\'':
    case '"':
      return c;
    case 'a':
      return '\a';
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'v':
      return '\v';
    default:
      return '\0';
  }
}

/// A backslash before a character beyond ASCII: Python has already written that one as \xNN and
/// reads
/// "\\" followed by letters.
std::string doubled_escape(char32_t c) {
  std::string out;
  if (c < 0x100)
    append_hex(out, "\\x", c, 2);
  else if (c < 0x10000)
    append_hex(out, "\\u", c, 4);
  else
    append_hex(out, "\\U", c, 8);
  return out;
}

/// The escape whose letter stands at `at`; advances past it.
void append_escape(std::string& out, std::string_view text, std::size_t& at, std::uint32_t line) {
  const char c = text[at];
  if (static_cast<unsigned char>(c) >= 0x80) {
    out += doubled_escape(next_code_point(text, at));
  } else if (const char plain = simple_escape(c); plain != '\0') {
    out += plain;
    ++at;
  } else if (c == '\n') {
    ++at;
  } else if (c == 'x' || c == 'u' || c == 'U') {
    const std::size_t count = c == 'x' ? 2 : c == 'u' ? 4 : 8;
    append_utf8(out, hex(text, at + 1, count, line));
    at += 1 + count;
  } else if (is_digit_of(c, 8)) {
    char32_t octal = 0;
    for (int i = 0; i < 3 && at < text.size() && is_digit_of(text[at], 8); ++i) {
      octal = octal * 8 + static_cast<char32_t>(text[at++] - '0');
    }
    append_utf8(out, octal);
  } else if (c == 'N') {
    fail_at(line, "\\N{...} in a string is not supported");
  } else {
    out += '\\';
    out += c;
    ++at;
  }
}

}  // namespace

NumberText scan_number(std::string_view text, std::size_t at) {
  if (at >= text.size() || !is_digit_of(text[at], 10)) return {};
  const std::size_t real = scan_real(text, at);
  if (real > at) return {real - at, true};
  return {scan_integer(text, at) - at, false};
}

bool parse_number(std::string_view literal, bool is_real, std::int64_t& integer, double& real) {
  if (is_real) return parse_real(literal, real) && std::isfinite(real);
  bool too_big = false;
  return parse_integer(literal, 0, integer, too_big);
}

std::string unescape(std::string_view text, std::uint32_t line) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] != '\\' || at + 1 >= text.size()) {
      out += text[at++];
    } else {
      append_escape(out, text, ++at, line);
    }
  }
  return out;
}

}  // namespace lancet::jinja
