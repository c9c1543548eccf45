// Text to numbers as Python's int() and float() read them.

#include <charconv>
#include <cstdlib>

#include "core/text.h"
#include "formats/template/print.h"
#include "formats/template/unicode.h"

namespace lancet::jinja {
namespace {

int digit_value(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'z' ? lower - 'a' + 10 : 99;
}

/// The text without white space around it, decimal digits of all scripts as those of ASCII: each
/// script's ten follow each other, and so do scripts.
std::string plain_digits(std::string_view text) {
  text = strip_left(strip_right(text));
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t start = at;
    const char32_t c = next_code_point(text, at);
    if (c < 0x80 || !is_decimal(c)) {
      out += text.substr(start, at - start);
      continue;
    }
    char32_t before = 0;
    while (is_decimal(c - before - 1)) ++before;
    out += static_cast<char>('0' + before % 10);
  }
  return out;
}

bool take_sign(std::string_view& text) {
  const bool minus = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  return minus;
}

/// Removes 0x, 0o or 0b where it fits the base; base 0 becomes the one it names. False: "017" in
/// base 0.
bool take_prefix(std::string_view& text, int& base) {
  const char mark = text.size() > 1 && text[0] == '0' ? static_cast<char>(text[1] | 0x20) : '\0';
  const int named = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
  if (named != 0 && (base == 0 || base == named)) {
    base = named;
    text.remove_prefix(2);
    if (!text.empty() && text[0] == '_') text.remove_prefix(1);
    return true;
  }
  if (base != 0) return true;
  base = 10;
  return text.empty() || text[0] != '0' || text.find_first_not_of("0_") == std::string_view::npos;
}

bool equals_ignoring_case(std::string_view a, std::string_view lower) noexcept {
  if (a.size() != lower.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (static_cast<char>(a[i] | 0x20) != lower[i]) return false;
  }
  return true;
}

/// Digits with single underscores between them removed; false when misplaced or not a decimal
/// number.
bool clean_decimal(std::string_view text, std::string& out) {
  bool digit_before = false;
  bool any = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool digit = c >= '0' && c <= '9';
    if (c == '_') {
      const bool digit_after = i + 1 < text.size() && text[i + 1] >= '0' && text[i + 1] <= '9';
      if (!digit_before || !digit_after) return false;
      continue;
    }
    if (!digit && c != '.' && c != 'e' && c != 'E' && c != '+' && c != '-') return false;
    digit_before = digit;
    any = any || digit;
    out += c;
  }
  return any && out[0] != '+' && out[0] != '-';
}

}  // namespace

bool parse_integer(std::string_view given, int base, std::int64_t& out, bool& too_big) {
  const std::string plain = plain_digits(given);
  std::string_view text = plain;
  const bool minus = take_sign(text);
  if (!take_prefix(text, base)) return false;
  std::uint64_t value = 0;
  bool digit_before = false;
  too_big = false;
  for (const char c : text) {
    if (c == '_' && digit_before) {
      digit_before = false;
      continue;
    }
    const int digit = digit_value(c);
    if (digit >= base) return false;
    digit_before = true;
    if (__builtin_mul_overflow(value, static_cast<std::uint64_t>(base), &value) ||
        __builtin_add_overflow(value, static_cast<std::uint64_t>(digit), &value)) {
      too_big = true;
      value = 0;
    }
  }
  if (!digit_before) return false;
  const std::uint64_t most = minus ? 1ULL << 63 : (1ULL << 63) - 1;
  if (value > most) too_big = true;
  out = static_cast<std::int64_t>(minus ? 0 - value : value);
  return !too_big;
}

bool parse_real(std::string_view given, double& out) {
  const std::string plain = plain_digits(given);
  std::string_view text = plain;
  const bool minus = take_sign(text);
  if (equals_ignoring_case(text, "inf") || equals_ignoring_case(text, "infinity")) {
    out = HUGE_VAL;
  } else if (equals_ignoring_case(text, "nan")) {
    out = std::strtod("nan", nullptr);
  } else {
    std::string clean;
    if (!clean_decimal(text, clean)) return false;
    const char* end = clean.data() + clean.size();
    const auto result = std::from_chars(clean.data(), end, out);
    if (result.ptr != end) return false;
    if (result.ec == std::errc::result_out_of_range) out = std::strtod(clean.c_str(), nullptr);
  }
  if (minus) out = -out;
  return true;
}

}  // namespace lancet::jinja
